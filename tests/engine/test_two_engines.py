"""Two real engines at once: what one does must not keep the other from its first token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from lattice_actors.engine import frames
from lattice_actors.engine.news import EngineNews, EngineReady
from lattice_actors.engine.process import EngineProcess
from lattice_actors.generation import Delta, Job, Sampling, Text
from lattice_actors.residency.machine import engine_environment
from lattice_actors.stream import TokenStream

STREAMS = 4
ANSWER = 900  # tokens: it cannot end while the other engine is looked at
MOST_STEPS = 300  # that the busy one may make meanwhile; a first token takes some ten here


def job(max_tokens: int) -> Job:
    return Job(Text("hello world"), max_tokens, sampling=Sampling(temperature=0.0))


async def first_text(stream: TokenStream) -> None:
    assert isinstance((await stream.receive())[0], Delta)


async def test_a_busy_model_does_not_starve_the_first_token_of_another(
    tmp_path: Path, make_tiny_model: Callable[..., Path]
) -> None:
    ready = {name: trio.Event() for name in ("busy", "other")}

    def engine(name: str, seed: int) -> EngineProcess:
        def tell(news: EngineNews) -> None:
            if isinstance(news, EngineReady):
                ready[name].set()

        path = make_tiny_model(tmp_path / name, seed=seed)
        load = frames.Load(str(path), 512, 8, 0.0)
        module = "lattice_actors.engine.worker"
        return EngineProcess(name, module, load, engine_environment(2), tell)

    busy, other = engine("busy", 1), engine("other", 2)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.run)
            nursery.start_soon(other.run)
            for event in ready.values():
                await event.wait()
            running = {rid: TokenStream() for rid in range(1, STREAMS + 1)}
            for rid, stream in running.items():
                busy.begin(rid, job(ANSWER), stream)
            for stream in running.values():
                await first_text(stream)
            stream = TokenStream()
            before = busy.steps
            other.begin(1, job(4), stream)
            await first_text(stream)
            meanwhile = busy.steps - before
            still_decoding = len(busy.streams)
            busy.stop("the test is over")
            other.stop("the test is over")

    assert still_decoding == STREAMS
    assert meanwhile < MOST_STEPS
