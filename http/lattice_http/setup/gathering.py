"""The facts that `doctor` judges: read from the machine, and asked of its neighbours."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
import trio

from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.engine import builtin
from lattice_actors.remote.cloud_plan import CloudPlan
from lattice_actors.remote.connection import Connection, user_agent
from lattice_actors.remote.ledger import Ledger
from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.remote.probing import Probe
from lattice_actors.remote.resolving import install
from lattice_actors.residency.needs import needed_bytes
from lattice_http.hosts import is_loopback, own_url
from lattice_http.listening import AddressInUse, CannotBind, bind

from .looking import CONNECT_S, tls_for
from .machine_checks import CacheFacts, MemoryFacts, PlatformFacts, TrialFacts
from .serving_checks import Listener, UpstreamFacts

TRIAL_S = 60.0  # MLX is imported, and on a fresh machine a copy of OpenBLAS is made
PEEK_S = 2.0  # for each answer of who has our port
CLOUD_S = 15.0
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_MEMINFO = Path("/proc/meminfo")


def platform_facts() -> PlatformFacts:
    """What runs us."""
    return PlatformFacts(sys.version_info[:3], sys.platform, platform.machine())


async def try_arithmetic(environ: Mapping[str, str]) -> TrialFacts:
    """Multiply in a process like an engine's, with *environ* added to ours."""
    command = [sys.executable, "-m", "lattice_actors.engine.trial"]
    try:
        with trio.fail_after(TRIAL_S):
            done = await trio.run_process(
                command,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={**os.environ, **environ},
            )
    except trio.TooSlowError:
        return TrialFacts(said=f"nothing was multiplied within {TRIAL_S:g} s")
    except OSError as error:
        return TrialFacts(said=str(error))
    lines = done.stderr.decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        told = json.loads(done.stdout)
        return TrialFacts(told["blas"], told["mlx"], told["gflops"], said)
    except (ValueError, KeyError):
        return TrialFacts(said=said or f"it ended with {done.returncode}")


def memory_facts(
    budget_bytes: int, prefix_cache_bytes: int, models: Sequence[ModelEntry]
) -> MemoryFacts:
    """What there is, and what each of *models* reserves when it is loaded."""
    return MemoryFacts(
        physical=_physical_bytes(),
        available=_available_bytes(),
        allowed=_allowed_bytes(),
        budget=budget_bytes,
        needs=tuple(
            (model.id, needed_bytes(model, budget_bytes, prefix_cache_bytes)) for model in models
        ),
    )


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _available_bytes() -> int | None:
    """What programs could still take, by Linux' own estimate."""
    try:
        lines = _MEMINFO.read_text("ascii").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kib) * 1024
    except (OSError, ValueError, StopIteration, IndexError):
        return None


def _allowed_bytes() -> int | None:
    """What a container may use; None outside of one."""
    for file in _CGROUP_LIMITS:
        try:
            limit = int(Path(file).read_text("ascii"))
        except (OSError, ValueError):  # "max" is no number, and no limit
            continue
        if 0 < limit < 2**60:  # the older form writes "no limit" as a huge number
            return limit
    return None


def cache_facts(folder: Path, *, wants_builtin: bool) -> CacheFacts:
    """Whether there is room and leave to write. Makes nothing."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    problem = ""
    if not place.is_dir():
        problem = f"{place} is no folder"
    elif not os.access(place, os.W_OK | os.X_OK):
        problem = f"{place} cannot be written"
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        free_bytes, problem = 0, problem or str(error.strerror)
    wanted = builtin.WANTED_FREE_BYTES[builtin.fast_precision()] if wants_builtin else 0
    return CacheFacts(folder, problem, free_bytes, wanted)


async def who_listens(host: str, port: int) -> tuple[Listener, str]:
    """Try to listen; where another does, see whether it is a lattice-trio. Sends it no key."""
    try:
        sockets = await bind(host, port)
    except AddressInUse:
        ours = await _is_lattice(host, port)
        return (Listener.OURS if ours else Listener.STRANGER), ""
    except CannotBind as error:
        return Listener.NOT_OURS_TO_HAVE, error.message
    for socket in sockets:
        socket.close()
    return Listener.NOBODY, ""


async def _is_lattice(host: str, port: int) -> bool:
    """Whether it says its name, or refuses to in our words."""
    url = own_url(host, port)
    timeout = httpx2.Timeout(PEEK_S, connect=CONNECT_S)
    try:
        async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as client:
            with trio.fail_after(2 * PEEK_S):
                alive = (await client.get(f"{url}/livez")).json()
                said = (await client.get(f"{url}/")).json()
    except (httpx2.HTTPError, OSError, ValueError, trio.TooSlowError):
        return False
    if not isinstance(said, dict) or alive != {"ok": True}:
        return False
    error = said.get("error")
    refused = isinstance(error, dict) and error.get("code") == "invalid_api_key"
    return refused or said.get("name") == "lattice-trio"


async def ask_upstreams(plans: Sequence[UpstreamPlan], own_port: int) -> tuple[UpstreamFacts, ...]:
    """Ask all of them at once for their models, as `serve` does, each with its own key."""
    install()
    found: dict[str, UpstreamFacts] = {}

    async def ask(plan: UpstreamPlan) -> None:
        found[plan.name] = await _ask_upstream(plan, own_port)

    async with trio.open_nursery() as nursery:
        for plan in plans:
            nursery.start_soon(ask, plan)
    return tuple(found[plan.name] for plan in plans)


async def _ask_upstream(plan: UpstreamPlan, own_port: int) -> UpstreamFacts:
    url = httpx2.URL(plan.url)
    if url.port == own_port and is_loopback(url.host):
        return UpstreamFacts(plan.name, plan.url, itself=True)
    async with Connection(plan, Ledger(), tls_for(plan.url)) as connection:
        probed = await Probe(plan, connection).list_models()
    listing = probed.listing
    if listing is None:
        fault = probed.fault
        assert fault is not None  # one of the two is always there
        return UpstreamFacts(
            plan.name, plan.url, fault=fault.message, code=fault.code, key_env=plan.api_key_env
        )
    return UpstreamFacts(
        plan.name,
        plan.url,
        models=len(listing.models),
        chats=sum(not model.embeds for model in listing.models),
        loaded=None if probed.loaded is None else len(probed.loaded),
    )


async def ask_cloud(plan: CloudPlan) -> str:
    """Ask the cloud for each model by name, which costs nothing; return what is against it."""
    headers = {
        "x-api-key": plan.server.api_key or "",
        "anthropic-version": plan.version,
        "User-Agent": user_agent(),
    }
    url = plan.server.url
    try:
        async with httpx2.AsyncClient(
            timeout=CLOUD_S, trust_env=False, headers=headers, verify=tls_for(url)
        ) as client:
            with trio.fail_after(CLOUD_S):
                for entry in plan.entries():
                    model = entry.id.partition("/")[2]
                    answer = await client.get(f"{url}/v1/models/{model}")
                    if answer.status_code in (401, 403):
                        return f"{url} refuses the key (HTTP {answer.status_code})"
                    if answer.status_code != 200:
                        return f"{url} does not know {model} (HTTP {answer.status_code})"
    except trio.TooSlowError:
        return f"{url} did not answer within {CLOUD_S:g} s"
    except (httpx2.HTTPError, OSError) as error:
        return f"{url} cannot be reached: {str(error)[:100] or type(error).__name__}"
    return ""


def is_readable_by_others(file: Path) -> bool:
    """Whether other users of this machine may read *file*."""
    try:
        return bool(file.stat().st_mode & 0o044)
    except OSError:
        return False
