"""The gateway's end of an engine, with a real process behind it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lattice_actors.engine import frames
from lattice_actors.engine.news import EngineGone, EngineNews, EngineReady
from lattice_actors.engine.process import EngineProcess

ECHO = "lattice_actors.engine.echo"


@pytest.fixture
def news() -> list[EngineNews]:
    """What the engine's owner was told."""
    return []


def echo(path: Path, tell: Callable[[EngineNews], None]) -> EngineProcess:
    return EngineProcess("echo", ECHO, frames.Load(str(path), 512, 8, 0.0), {}, tell)


async def test_an_engine_that_dies_as_it_is_told_to_go_is_reaped(
    tmp_path: Path, news: list[EngineNews]
) -> None:
    ready = trio.Event()

    def tell(one: EngineNews) -> None:
        news.append(one)
        if isinstance(one, EngineReady):
            ready.set()

    engine = echo(tmp_path, tell)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            await ready.wait()
            assert engine.pid is not None
            engine.stop("unloaded")
            os.kill(engine.pid, signal.SIGKILL)
            # Blocking on purpose: its socket is closed now, and no task has run since.
            os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222

    assert news[-1] == EngineGone("unloaded", -signal.SIGKILL, wanted=True)
