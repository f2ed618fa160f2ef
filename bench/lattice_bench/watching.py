"""What it costs to be watched: per token when nobody looks, and per follower of the state."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from lattice_actors.mailbox import Mailbox
from lattice_actors.metrics.metrics import MetricsActor, MetricsMemory
from lattice_actors.metrics.metrics_handle import Message, MetricsHandle
from lattice_actors.metrics.news import Stepped
from lattice_actors.metrics.picture import Sources
from lattice_actors.metrics.ring import Ring

from .echo_model import write_echo_model
from .gateway import serve_command, start
from .load import Target, run_load
from .process import usage
from .prompts import prompt

STEP_MS = 10.0
TURNS = 50
REPORTS = 1000  # in one turn: 10,000 steps a second, far more than an engine makes
PAUSE_S = 0.11  # a little more than the actor lets news gather


@attrs.frozen
class WatchingFigures:
    """The measurements. Shares are of one core."""

    token_us: float  # CPU, one engine step a token, nobody looking
    sockets: int
    alone_share: float  # the server with its load
    followed_share: float  # the same, followed
    followers_share: float  # the difference
    messages_per_s: float  # of one follower
    message_bytes: float


async def time_a_token() -> float:
    """Return the CPU microseconds of one told step, from the telling to the windows."""
    mailbox, ring = Mailbox[Message]("metrics"), Ring()
    handle = MetricsHandle(mailbox, ring)
    actor = MetricsActor(mailbox, ring, MetricsMemory(), Sources())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actor.run)
        await trio.sleep(PAUSE_S)
        before = time.process_time()
        for _ in range(TURNS):
            for _ in range(REPORTS):
                handle.tell(Stepped("model", 1, 0, 0.01, 0.0101, 1))
            await trio.sleep(PAUSE_S)
        took_s = time.process_time() - before
        nursery.cancel_scope.cancel()
    assert not ring.dropped
    return 1e6 * took_s / (TURNS * REPORTS)


async def measure_watching(sockets: int, streams: int, seconds: float) -> WatchingFigures:
    """Measure both. Raises, in a group: `NotStarted`."""
    token_us = await time_a_token()
    with TemporaryDirectory(prefix="lattice-bench-") as folder:
        model = write_echo_model(Path(folder) / "echo", step_ms=STEP_MS)
        async with start(serve_command, model) as server:
            target = Target(server.url, "auto")
            alone, _ = await _share(target, server.pid, streams, seconds, [])
            async with AsyncExitStack() as stack:
                url = server.url.replace("http", "ws", 1) + "/dashboard/ws"
                followers = [
                    await stack.enter_async_context(open_websocket_url(url)) for _ in range(sockets)
                ]
                followed, heard = await _share(target, server.pid, streams, seconds, followers)
    messages = max(1, len(heard))
    return WatchingFigures(
        token_us,
        sockets,
        alone,
        followed,
        followed - alone,
        len(heard) / seconds / max(1, sockets),
        sum(heard) / messages,
    )


def watching_text(figures: WatchingFigures) -> str:
    """Return the table."""
    rows = (
        ("told and counted, us of CPU a token, nobody looking", f"{figures.token_us:.1f}"),
        ("the server under its load, % of a core", f"{100 * figures.alone_share:.1f}"),
        (f"  the same with {figures.sockets} followers", f"{100 * figures.followed_share:.1f}"),
        ("  of that, the followers", f"{100 * figures.followers_share:.1f}"),
        ("messages a second, of each", f"{figures.messages_per_s:.1f}"),
        ("bytes of a message", f"{figures.message_bytes:.0f}"),
    )
    return "".join(f"{name:<55} {value:>8}\n" for name, value in rows)


async def _share(
    target: Target, pid: int, streams: int, seconds: float, followers: list[WebSocketConnection]
) -> tuple[float, list[int]]:
    """Return the share of a core the server takes under the load, and what followers heard."""
    heard: list[int] = []
    tokens = int(seconds * 1000 / STEP_MS) + 200  # answers that last longer than we look
    async with trio.open_nursery() as nursery:
        for follower in followers:
            nursery.start_soon(_follow, follower, heard)
        bodies = [target.body(prompt(number, 20), tokens) for number in range(streams)]
        nursery.start_soon(run_load, target, bodies, streams)
        await trio.sleep(1.0)
        heard.clear()
        before, start = usage(pid).cpu_s, trio.current_time()
        await trio.sleep(seconds)
        share = (usage(pid).cpu_s - before) / (trio.current_time() - start)
        known = list(heard)
        nursery.cancel_scope.cancel()
    await trio.sleep(0.5)  # the answers that were left have ended
    return share, known


async def _follow(follower: WebSocketConnection, heard: list[int]) -> None:
    while True:
        heard.append(len(await follower.get_message()))
