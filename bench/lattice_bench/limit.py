"""A server beside the bare mlx-lm loop on the same model, pair by pair.

The loop is what the machine can do without a server. Both sides of a pair get the same prompt and
the same number of streams, one after the other, and each pair begins with the other side than the
one before: what else the machine does at that time falls on both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import fmean, median

import attrs
import msgspec
import trio

from .answers import Answer, Run
from .http1 import Connection
from .load import Target, ask
from .stats import Ratio, paired_ratio

BARE = (sys.executable, "-m", "lattice_actors.engine.bare", "--serve-stdin")
LOG_LINES = 20
LAST_WORDS_S = 1.0  # of waiting for the log of a loop that has ended


class BareFailed(Exception):
    """The bare loop ended or said something else; the text has its last lines."""


class BareRun(msgspec.Struct, frozen=True):
    """One batch of the bare loop."""

    ttft_s: list[float]  # each stream's, from the prompt to its first text
    tokens: int  # generated, over all streams
    seconds: float  # from the prompt to the last text
    prompt_tokens: int | None = None  # of one stream
    texts_at_s: list[list[float]] = []  # each stream's: when it had text
    tokens_each: list[int] = []


@attrs.define(eq=False)
class BareLoop:
    """The loop in its process: a line of JSON down, a line up."""

    _process: trio.Process
    _log: deque[str]
    _log_ended: trio.Event
    _rest: bytes = b""

    async def run(self, prompts: Sequence[str], max_tokens: int) -> BareRun:
        """Generate an answer to each of *prompts* in one batch; raises `BareFailed`."""
        assert self._process.stdin is not None
        job = {"max_tokens": max_tokens, "prompts": list(prompts)}
        try:
            await self._process.stdin.send_all(json.dumps(job).encode() + b"\n")
        except trio.BrokenResourceError:
            raise await self._ended() from None
        line = await self.line()
        try:
            return msgspec.json.decode(line, type=BareRun)
        except msgspec.DecodeError:
            raise self._failed(line.decode("utf-8", "replace")) from None

    async def line(self) -> bytes:
        """Return its next line; raises `BareFailed` when there is none."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            data = await self._process.stdout.receive_some()
            if not data:
                raise await self._ended()
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    async def _ended(self) -> BareFailed:
        # Its last words come by another pipe, and may come after the end of this one.
        with trio.move_on_after(LAST_WORDS_S):
            await self._log_ended.wait()
        return self._failed("it has ended")

    def _failed(self, reason: str) -> BareFailed:
        return BareFailed("\n".join([f"the bare loop failed: {reason}", *self._log]))


@asynccontextmanager
async def bare_loop(model_dir: str, command: Sequence[str] = BARE) -> AsyncIterator[BareLoop]:
    """Run the loop for the block; it is ready inside. Raises `BareFailed`."""
    process = await trio.lowlevel.open_process(
        [*command, model_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    log: deque[str] = deque(maxlen=LOG_LINES)

    async def follow() -> None:
        assert process.stderr is not None
        async for data in process.stderr:
            log.extend(data.decode("utf-8", "replace").splitlines())
        log_ended.set()

    log_ended = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            loop = BareLoop(process, log, log_ended)
            await loop.line()  # "ready"
            yield loop
            nursery.cancel_scope.cancel(reason="the measurement is over")
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # SIGKILL is not waited for long
            await process.wait()


@attrs.frozen
class Comparison:
    """The server against the bare loop at one number of streams. Ratios: server / loop."""

    streams: int
    max_tokens: int
    failed: int  # streams of the server; their pairs are left out
    ttft: Ratio | None  # median stream of the server / median stream of the loop
    worst_ttft: Ratio | None  # first tokens in order of arrival, the pair of ranks farthest apart
    tokens_per_s: Ratio | None
    server_ttft_s: float  # medians of the sides, for reference
    bare_ttft_s: float
    server_tokens_per_s: float
    bare_tokens_per_s: float
    server_tokens: float  # means a pair: different lengths would spoil the comparison
    bare_tokens: float
    prompt_tokens: int | None  # of the last pair: the server's count and the loop's
    bare_prompt_tokens: int | None
    errors: tuple[str, ...]


async def compare(
    target: Target, loop: BareLoop, prompts: Sequence[str], streams: int, max_tokens: int
) -> Comparison:
    """Measure one pair for each prompt."""
    pairs = list[tuple[Run, BareRun]]()
    errors = list[str]()
    connections = [target.connection() for _ in range(streams)]
    try:
        for number, prompt in enumerate(prompts):
            if number % 2:
                bare = await loop.run([prompt] * streams, max_tokens)
                run = await at_once(target, connections, target.body(prompt, max_tokens))
            else:
                run = await at_once(target, connections, target.body(prompt, max_tokens))
                bare = await loop.run([prompt] * streams, max_tokens)
            errors += [answer.error for answer in run.answers if answer.error is not None]
            if all(answer.error is None and answer.ttft_s for answer in run.answers):
                pairs.append((run, bare))
    finally:
        for connection in connections:
            await connection.aclose()
    return summary(pairs, streams, max_tokens, errors)


async def at_once(target: Target, connections: Sequence[Connection], body: bytes) -> Run:
    """Send *body* on every connection at the same time."""
    answers = list[Answer]()

    async def one(connection: Connection) -> None:
        answers.append(await ask(target, connection, body))

    for connection in connections:
        await connection.open()
    async with trio.open_nursery() as nursery:
        for connection in connections:
            nursery.start_soon(one, connection)
    return Run(len(connections), tuple(answers))


def summary(
    pairs: Sequence[tuple[Run, BareRun]], streams: int, max_tokens: int, errors: Sequence[str]
) -> Comparison:
    """Boil the pairs down. Pure."""
    firsts = [sorted(answer.ttft_s or 0.0 for answer in run.answers) for run, _ in pairs]
    bare_firsts = [sorted(bare.ttft_s) for _, bare in pairs]
    ours, theirs = [median(f) for f in firsts], [median(f) for f in bare_firsts]
    worst = [
        max(our / their for our, their in zip(f, b, strict=True))
        for f, b in zip(firsts, bare_firsts, strict=True)
    ]
    rates = [run.tokens_per_s for run, _ in pairs]
    bare_rates = [bare.tokens / bare.seconds for _, bare in pairs]
    return Comparison(
        streams=streams,
        max_tokens=max_tokens,
        failed=len(errors),
        ttft=paired_ratio(ours, theirs),
        worst_ttft=paired_ratio(worst, [1.0] * len(worst)),
        tokens_per_s=paired_ratio(rates, bare_rates),
        server_ttft_s=median(ours or [0.0]),
        bare_ttft_s=median(theirs or [0.0]),
        server_tokens_per_s=median(rates or [0.0]),
        bare_tokens_per_s=median(bare_rates or [0.0]),
        server_tokens=fmean([sum(a.tokens for a in run.answers) for run, _ in pairs] or [0]),
        bare_tokens=fmean([bare.tokens for _, bare in pairs] or [0]),
        prompt_tokens=pairs[-1][0].answers[0].prompt_tokens if pairs else None,
        bare_prompt_tokens=pairs[-1][1].prompt_tokens if pairs else None,
        errors=tuple(sorted(set(errors))),
    )
