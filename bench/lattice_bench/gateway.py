"""The gateway alone: its own server with the echo engine, so that no model's time is in it.

Five questions: how soon it listens, what it takes at rest, what it adds to a request, how many
tokens a second pass through it, and what the bench itself could do at most (`source`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import attrs
import trio

from lattice_actors.engine import frames

from .answers import Run
from .echo_model import write_echo_model
from .load import Target, run_load
from .process import Server, serving, usage
from .stats import Spread, spread

ECHO = "lattice_actors.engine.echo"
TEXT = "the quick brown fox jumps over the lazy dog"
WARM_UP = 20  # requests: the first one loads the engine, the next ones fill caches
BURST_TOKENS = 250  # fewer than a stream keeps before it merges unread pieces into one event
SUSTAINED_TOKENS = 2000

# What a server gets of our environment: its settings may also be in it, and are not measured here.
KEPT = ("HOME", "LANG", "PATH", "TMPDIR", "XDG_CACHE_HOME")

Serve = Callable[[Path], Sequence[str]]


@attrs.frozen
class Plan:
    """What to measure, and how often."""

    starts: int = 3
    rest_s: float = 10.0
    requests: int = 300  # one after the other, for the added latency
    streams: int = 32
    rounds: int = 10  # of the burst
    offered_tokens_per_s: float = 20_000.0  # by the engine, in the sustained load


@attrs.frozen
class Flow:
    """Tokens through many streams at once."""

    tokens_per_s: Spread | None  # one value a round
    events_per_token: float  # under 1: unread pieces were merged, the reader was the slower one
    server_cpu_us: float  # of the gateway process a token
    client_cpu_us: float  # of the bench a token
    errors: tuple[str, ...]


@attrs.frozen
class GatewayFigures:
    """The answers. Latencies are of whole requests with one token, in seconds."""

    plan: Plan
    start_s: Spread | None  # launch to "listening"
    ready_s: Spread | None  # launch to 200 from /readyz
    rest_rss_bytes: int
    rest_cpu_share: float  # of one core
    engine_s: Spread | None  # the engine asked directly, over its socket
    floor_s: Spread | None  # the bench against `source`: loopback and client
    request_s: Spread | None  # through the gateway
    ttft_s: Spread | None  # the same requests, to the first text
    request_cpu_ms: float  # of the gateway process a request: no neighbour's load is in it
    added_ms: float  # median of request_s less median of engine_s
    burst: Flow  # all tokens at once, as fast as they go
    sustained: Flow  # long answers at the offered rate
    ceiling: Flow  # the bench against `source`
    used_rss_bytes: int  # the gateway after all of it


def serve_command(model: Path) -> Sequence[str]:
    """Return the command of the server to measure."""
    return (
        *(sys.executable, "-m", "lattice_http", "serve", "--port", "0", "--model", str(model)),
        *("--engine-module", ECHO, "--max-streams-per-model", "64"),
    )


def source_command(model: Path) -> Sequence[str]:
    """Return the command of the server that only writes."""
    del model
    return (sys.executable, "-m", "lattice_bench.source")


async def measure(plan: Plan, serve: Serve = serve_command) -> GatewayFigures:
    """Start what is needed and measure all of it, in some 30 s.

    Raises, in a group: `NotStarted`.
    """
    with TemporaryDirectory(prefix="lattice-bench-") as folder:
        fast = write_echo_model(Path(folder) / "echo", step_ms=0)
        step_ms = 1e3 * plan.streams / plan.offered_tokens_per_s
        paced = write_echo_model(Path(folder) / "paced", step_ms=step_ms)
        engine_s = await trio.to_thread.run_sync(time_engine, fast, plan.requests)
        async with serving(source_command(fast)) as source:
            target = Target(source.url, "source")
            floor = await _one_by_one(target, plan.requests)
            ceiling = await _flow(target, source.pid, plan.streams, BURST_TOKENS, plan.rounds)
        starts = list[tuple[float, float]]()
        for _ in range(plan.starts - 1):
            async with start(serve, fast) as server:
                starts.append((server.start_s, server.ready_s))
        async with start(serve, fast) as server:
            starts.append((server.start_s, server.ready_s))
            rest_rss_bytes, rest_cpu_share = await _rest(server.pid, plan.rest_s)
            target = Target(server.url, "auto")
            await _one_by_one(target, 1)  # the first one loads the engine
            before = usage(server.pid).cpu_s
            alone = await _one_by_one(target, plan.requests)
            request_cpu_s = usage(server.pid).cpu_s - before
            burst = await _flow(target, server.pid, plan.streams, BURST_TOKENS, plan.rounds)
            used_rss_bytes = usage(server.pid).rss_bytes
        async with start(serve, paced) as server:
            target = Target(server.url, "auto")
            sustained = await _flow(target, server.pid, plan.streams, SUSTAINED_TOKENS, 3)
    engine, request = spread(engine_s), spread([answer.total_s for answer in alone.good])
    return GatewayFigures(
        plan=plan,
        start_s=spread([start for start, _ in starts]),
        ready_s=spread([ready for _, ready in starts]),
        rest_rss_bytes=rest_rss_bytes,
        rest_cpu_share=rest_cpu_share,
        engine_s=engine,
        floor_s=spread([answer.total_s for answer in floor.good]),
        request_s=request,
        ttft_s=spread([answer.ttft_s for answer in alone.good if answer.ttft_s is not None]),
        request_cpu_ms=1e3 * request_cpu_s / (WARM_UP + plan.requests),
        added_ms=1e3 * (request.p50 - engine.p50) if request and engine else float("nan"),
        burst=burst,
        sustained=sustained,
        ceiling=ceiling,
        used_rss_bytes=used_rss_bytes,
    )


def start(serve: Serve, model: Path) -> AbstractAsyncContextManager[Server]:
    """Run the server of *model*, out of reach of our settings, in the environment and in files."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    paths = [path for path in sys.path if path]
    return serving(serve(model), {**env, "PYTHONPATH": os.pathsep.join(paths)}, model)


def time_engine(model: Path, requests: int) -> list[float]:
    """Return the seconds of one-token answers from an echo engine asked over its socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", ECHO, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

        def until(kind: type[frames.Report]) -> None:
            while not isinstance(_receive(stream.read), kind):
                pass

        try:
            ours.sendall(frames.encode(frames.Load(str(model), 512, 8, 0.0)))
            until(frames.Ready)
            times = list[float]()
            for rid in range(1, WARM_UP + requests + 1):
                begun = time.perf_counter()
                turn = {"role": "user", "content": TEXT}
                ours.sendall(frames.encode(frames.Gen(rid, 1, 0.0, messages=[turn])))
                until(frames.End)
                times.append(time.perf_counter() - begun)
        finally:
            ours.shutdown(socket.SHUT_RDWR)  # the engine ends with its socket
            process.wait()
    return times[WARM_UP:]


def _receive(read: Callable[[int], bytes]) -> frames.Report:
    length = frames.body_length(read(frames.HEADER_BYTES), frames.MAX_REPORT_BYTES)
    return frames.decode_report(read(length))


async def _rest(pid: int, rest_s: float) -> tuple[int, float]:
    """Return resident bytes and share of a core of a process that nobody asks anything."""
    before = usage(pid)
    begun = trio.current_time()
    await trio.sleep(rest_s)
    after = usage(pid)
    return after.rss_bytes, (after.cpu_s - before.cpu_s) / (trio.current_time() - begun)


async def _one_by_one(target: Target, requests: int) -> Run:
    body = target.body(TEXT, 1)
    await run_load(target, [body] * WARM_UP, 1)
    return await run_load(target, [body] * requests, 1)


async def _flow(target: Target, pid: int, streams: int, tokens: int, rounds: int) -> Flow:
    body = target.body(TEXT, tokens)
    await run_load(target, [target.body(TEXT, 1)] * streams, streams)  # loaded and warm
    before, client_before = usage(pid).cpu_s, _own_cpu_s()
    runs = [await run_load(target, [body] * streams, streams) for _ in range(rounds)]
    server_s, client_s = usage(pid).cpu_s - before, _own_cpu_s() - client_before
    good = [answer for run in runs for answer in run.good]
    total = sum(answer.tokens for answer in good) or 1
    return Flow(
        tokens_per_s=spread([run.tokens_per_s for run in runs]),
        events_per_token=fmean([answer.events / answer.tokens for answer in good] or [0.0]),
        server_cpu_us=1e6 * server_s / total,
        client_cpu_us=1e6 * client_s / total,
        errors=tuple(sorted({a.error for run in runs for a in run.answers if a.error})),
    )


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system
