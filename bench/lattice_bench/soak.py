"""Does it grow? Thousands of requests to one server, and what its processes hold on the way.

The server is started for it, so that the first figure is that of a fresh one. Most requests are
answered to their end; of every ten one repeats an earlier prompt, one is left in the middle and
one is refused, since what is forgotten after an error is what grows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import msgspec
import trio

from .answers import Answer
from .gateway import start
from .load import NETWORK_ERRORS, Target, ask
from .process import usage
from .prompts import prompt
from .report import table

WORDS = 12  # of a prompt
LONG = 60  # tokens of an answer that is left in the middle
EVERY = 10
REPEATS, LEAVES, REFUSED = 3, 6, 9  # which ones of every ten
SHARES = (0.0, 0.25, 0.5, 1.0)  # of the requests, when memory is looked at
SETTLE_S = 2.0  # before that: what is being let go of is not counted
PREFIX_CACHE_BYTES = "4MB"
MIB = 2**20


@attrs.frozen
class Mark:
    """What the processes held after so many requests."""

    requests: int
    gateway_bytes: int
    engine_bytes: int


@attrs.frozen
class SoakFigures:
    """All marks, and what went wrong that should not have."""

    marks: tuple[Mark, ...]
    answered: int
    left: int
    refused: int
    errors: dict[str, int]

    def growth_bytes(self, of: Callable[[Mark], int]) -> int:
        """Return what was added after the first quarter, when caches had been filled."""
        return of(self.marks[-1]) - of(self.marks[1])


def serve_command(model: Path | None) -> Sequence[str]:
    """Return the command of the server; without *model* it is the built-in one.

    Its prefix cache is small, so that it is full after the first quarter: filling it is no leak.
    """
    which = ["--builtin"] if model is None else ["--model", str(model)]
    small = ("--prefix-cache-bytes", PREFIX_CACHE_BYTES)
    return (sys.executable, "-m", "lattice_http", "serve", "--port", "0", *small, *which)


async def soak(
    model: Path | None,
    requests: int,
    concurrency: int,
    max_tokens: int,
    progress: Callable[[str], None],
    command: Callable[[Path | None], Sequence[str]] = serve_command,
) -> SoakFigures:
    """Start a server, send *requests* to it, and look at its memory at `SHARES` of them.

    Raises, in a group: `NotStarted`.
    """
    counts = dict.fromkeys(("answered", "left", "refused"), 0)
    errors = dict[str, int]()
    marks = list[Mark]()
    with TemporaryDirectory(prefix="lattice-bench-") as folder:
        async with start(lambda _: command(model), Path(folder)) as server:
            target = Target(server.url, "auto")
            await _one(target, 0, max_tokens)  # loads the model
            done = 0
            for share in SHARES:
                upto = round(requests * share)
                await _send(target, range(done, upto), concurrency, max_tokens, counts, errors)
                done = upto
                await trio.sleep(SETTLE_S)
                engines = await engine_pids(target)
                held = [usage(pid).rss_bytes for pid in engines]
                marks.append(Mark(done, usage(server.pid).rss_bytes, sum(held)))
                progress(f"{done}/{requests}")
    return SoakFigures(tuple(marks), **counts, errors=errors)


async def _send(
    target: Target,
    numbers: range,
    concurrency: int,
    max_tokens: int,
    counts: dict[str, int],
    errors: dict[str, int],
) -> None:
    todo = iter(numbers)

    async def work() -> None:
        for number in todo:
            answer = await _one(target, number, max_tokens)
            if number % EVERY == LEAVES and answer.left:
                counts["left"] += 1
            elif number % EVERY == REFUSED and answer.status == 400:
                counts["refused"] += 1
            elif answer.error is None:
                counts["answered"] += 1
            else:
                errors[answer.error] = errors.get(answer.error, 0) + 1

    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(work)


async def _one(target: Target, number: int, max_tokens: int) -> Answer:
    kind = number % EVERY
    text = prompt(number - EVERY if kind == REPEATS else number, WORDS)
    connection = target.connection()
    answer = Answer(trio.current_time(), left=True)
    try:
        if kind == LEAVES:
            with trio.CancelScope() as scope:
                answer = await ask(target, connection, target.body(text, LONG), scope.cancel)
        elif kind == REFUSED:
            answer = await ask(target, connection, target.body(text, -1))
        else:
            answer = await ask(target, connection, target.body(text, max_tokens))
    finally:
        await connection.aclose()
    return answer


class _Model(msgspec.Struct):
    pid: int | None = None


class _State(msgspec.Struct):
    models: dict[str, _Model]


async def engine_pids(target: Target) -> list[int]:
    """Return the processes of the engines, as /v1/state tells them; none if it does not."""
    connection = target.root()
    with suppress(*NETWORK_ERRORS, msgspec.DecodeError):
        await connection.request("GET", "/v1/state")
        body = await connection.read()
        await connection.aclose()
        state = msgspec.json.decode(body, type=_State)
        return [model.pid for model in state.models.values() if model.pid is not None]
    await connection.aclose()
    return []


def soak_text(figures: SoakFigures) -> str:
    """Return the table."""
    rows: list[Sequence[str]] = [("requests", "gateway, MiB", "engine, MiB")]
    rows += [
        (str(m.requests), f"{m.gateway_bytes / MIB:.1f}", f"{m.engine_bytes / MIB:.1f}")
        for m in figures.marks
    ]
    gateway = figures.growth_bytes(lambda mark: mark.gateway_bytes) / MIB
    engine = figures.growth_bytes(lambda mark: mark.engine_bytes) / MIB
    counts = f"{figures.answered} answered, {figures.left} left, {figures.refused} refused\n"
    failures = [f"failed {count} times: {error}\n" for error, count in figures.errors.items()]
    first = figures.marks[1].requests
    grown = f"after {first} requests: gateway {gateway:+.1f} MiB, engine {engine:+.1f} MiB\n"
    return table(rows) + grown + counts + "".join(failures)
