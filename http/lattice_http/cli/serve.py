"""`lattice-trio serve`: put the parts together, and run them until a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import structlog
import trio

from lattice_actors.capability.question import Ask, Route
from lattice_actors.catalog.entry import Snapshot
from lattice_actors.engine import builtin
from lattice_actors.errors import LatticeError
from lattice_actors.lattice import Lattice, open_lattice
from lattice_actors.settings import Settings
from lattice_http.app import make_app
from lattice_http.errors import telling
from lattice_http.gateway import Gateway
from lattice_http.hosts import check_bind, url_of
from lattice_http.lifecycle import WATCHDOG_S, Shutdown, Watchdog, watch_signals
from lattice_http.log_lines import set_up_log
from lattice_http.server import AddressInUse, CannotBind, serve

from . import parts
from .greeting import greeting
from .terminal import FAILED, WRONG_USE, say, version

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    refusal = check_bind(settings.host, settings.api_key, settings.allow_public_no_auth)
    if refusal is not None:
        say(refusal)
        return WRONG_USE
    set_up_log(settings.log_format, settings.log_level)
    os.environ["LATTICE_CACHE_DIR"] = str(settings.cache_dir)  # engines and the built-in model
    watchdog = Watchdog(settings.shutdown_grace_s + WATCHDOG_S)
    try:
        return trio.run(_serve, settings, watchdog)
    except* (AddressInUse, CannotBind) as errors:
        say(str(telling(errors)))
    finally:
        watchdog.disarm()
    return FAILED


async def _serve(settings: Settings, watchdog: Watchdog) -> int:
    shutdown = Shutdown(settings.shutdown_grace_s)
    scan = parts.scanner(settings)
    found = await trio.to_thread.run_sync(scan)
    parts.check_single(settings, found)
    inventory = parts.inventory(settings, scan, await _builtin(settings, found))
    engines = parts.engines(settings, len(found.models) + (inventory.builtin is not None))
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(watch_signals, shutdown, watchdog=watchdog))
        async with open_lattice(
            inventory,
            parts.budget(settings),
            parts.limits(settings),
            engines,
            parts.shown(settings),
            version(),
        ) as lattice:
            await _serve_lattice(lattice, settings, shutdown)
        nursery.cancel_scope.cancel(reason="served to the end")
    return shutdown.exit_code


async def _serve_lattice(lattice: Lattice, settings: Settings, shutdown: Shutdown) -> None:
    gateway = Gateway(lattice, settings)
    policy = parts.security(settings)
    dashboard = parts.dashboard(lattice, settings, policy, shutdown.draining)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_in_order, gateway, shutdown)
        nursery.start_soon(_check_default, lattice, settings)
        nursery.start_soon(_preload, lattice, settings)
        async with trio.open_nursery() as serving:
            bound = await serving.start(
                partial(
                    serve,
                    make_app(gateway, policy, dashboard),
                    parts.serve_options(settings),
                    shutdown=shutdown.draining,
                    cut=shutdown.ending,
                )
            )
            for host, port in bound:
                say(f"listening on {url_of(host, port)}")
            if settings.dashboard:
                say("the dashboard is below it: /dashboard/")
            for line in greeting(await lattice.catalog.snapshot(), settings.model_root):
                say(line)
        nursery.cancel_scope.cancel(reason="the server has stopped")


async def _end_in_order(gateway: Gateway, shutdown: Shutdown) -> None:
    await shutdown.draining.wait()
    gateway.drain()
    await shutdown.cutting.wait()
    shutdown.count_cut(gateway.working)
    gateway.cut()


async def _check_default(lattice: Lattice, settings: Settings) -> None:
    """Warn of a default that nothing answers to: requests would go to some other model."""
    if settings.default_model is not None and settings.model is None:
        route, _ = await lattice.route(Ask(settings.default_model, allow_fallback=False))
        if not isinstance(route, Route):
            log.warning("default model", spec=settings.default_model, problem=route.message)


async def _preload(lattice: Lattice, settings: Settings) -> None:
    """Load what was asked for at start; a failure is a warning.

    Where only the built-in model is there, it is loaded unasked: it is small, and a newcomer's
    first request need not wait for it.
    """
    specs = settings.preload_models
    models = (await lattice.catalog.snapshot()).models
    if not specs and [model.builtin for model in models] == [True]:
        specs = (models[0].id,)
    for spec in specs:
        route, _ = await lattice.route(Ask(spec, allow_fallback=False))
        if not isinstance(route, Route):
            log.warning("preload", spec=spec, problem=route.message)
            continue
        if lattice.upstreams.owner(route.model) is not None:
            log.warning("preload", spec=spec, problem=f"{route.model} is on another server")
            continue
        try:
            await lattice.evictor.load(route.model)
        except LatticeError as error:
            log.warning("preload", spec=spec, model=route.model, problem=error.message)


async def _builtin(settings: Settings, found: Snapshot) -> Path | None:
    """Return the directory of the built-in model where it is to be offered; prepare it once."""
    if not parts.offers_builtin(settings, found):
        return None
    ready = builtin.prepared()
    if ready is not None or builtin.locate() is None:
        return ready
    # In a process of its own: it imports mlx, which the gateway never does.
    command = [sys.executable, "-m", "lattice_actors.engine.builtin"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                # The last line is the directory, for programs.
                say(f"prepared the built-in model in {text}" if text.startswith("/") else text)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()  # nothing is half done: it renames a finished folder
    return builtin.prepared()
