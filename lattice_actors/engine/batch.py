"""The streams of one model, decoded together by mlx-lm's `BatchGenerator`.

Streams join and leave between two steps; only the thread that made a `Batch` may touch it.
mlx-lm isolates nothing, so one bad stream is kept from its neighbours here: samplers and
processors are guarded, and after an exception out of a step the generator is thrown away and
made again from the prompts and the tokens emitted so far. A greedy answer goes on with the same
tokens, a seeded one with the same draws.

A token counts as generated when a step returned it, the end-of-sequence token included, as in
mlx-lm's own server. mlx-lm computes one token ahead; that one is never counted.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs
import mlx.core as mx
from mlx_lm.generate import BatchGenerator

from .answer import Stream
from .detokenizing import AnswerText
from .frames import End, Err, Piece, Prompt
from .generator import Generator, Model, PromptProgress, Token
from .last_logits import LastLogits
from .leaving import Abandoned, Exit
from .logprobs import Logprobs
from .pacing import Pacing
from .prompts import Keeps, Prepared
from .reuse import Found, Reuse
from .running import Running
from .sampling import Processor
from .token_bytes import TokenBytes
from .whole_prefill import Begun, WholePrefill

REBUILDS_A_MINUTE = 3  # more, and the process is worth less than a fresh one
MEASURE_KV_EVERY = 16  # steps; and whenever a stream came or went

T = TypeVar("T")


class TooManyRebuilds(Exception):
    """The batch keeps failing: give up this process."""


@attrs.define
class Outcome:
    """What one step gave, as frames. `rids` of pieces and endings never overlap."""

    took_s: float = 0.0
    decoded: int = 0
    prefilled: int = 0
    pieces: list[Piece] = attrs.field(factory=list[Piece])
    endings: list[End | Err] = attrs.field(factory=list[End | Err])
    prompts: list[Prompt] = attrs.field(factory=list[Prompt])


class Batch:
    """All streams of one model. `step` while it is not empty."""

    def __init__(
        self,
        loaded: Model,
        pacing: Pacing,
        max_streams: int,
        make_generator: Callable[..., Generator] = BatchGenerator,
        prefix_cache_bytes: int = 0,
    ) -> None:
        """More than *max_streams* wait inside. *make_generator* takes `BatchGenerator`'s place."""
        self._loaded = loaded
        self._pacing = pacing
        self._reuse = Reuse.of(loaded.model, prefix_cache_bytes)
        logits = LastLogits.of(loaded.model)
        self._whole = WholePrefill(logits, self._reuse, pacing, max_streams)
        self._exit = Exit.of(loaded.model)
        self._gone: set[int] = set()  # rids that will be cancelled; written by other threads
        self._running = Running(loaded, pacing, max_streams, make_generator)
        self._streams: dict[int, Stream] = {}  # by rid, in order of arrival
        self._rebuilt_at: deque[float] = deque(maxlen=REBUILDS_A_MINUTE + 1)
        self._steps = 0
        self._bytes_of = TokenBytes(loaded.tokenizer)

    def __repr__(self) -> str:
        return f"<Batch {len(self)} streams, {self._running!r}, {self._steps} steps>"

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, rid: int) -> bool:
        return rid in self._streams

    @property
    def kv_bytes(self) -> int:
        """Bytes of all caches; those of streams are measured every `MEASURE_KV_EVERY` steps."""
        fresh = self._steps % MEASURE_KV_EVERY == 0
        return self._running.kv_bytes(fresh=fresh) + self.prefix_bytes

    @property
    def prefix_bytes(self) -> int:
        """Bytes kept of streams that have left, for those to come."""
        return self._reuse.nbytes

    @property
    def keeps(self) -> Keeps:
        """What prompts must tell for the prefix cache."""
        if not self._reuse.on:
            return Keeps.NOTHING
        return Keeps.SYSTEM_AND_TURN if self._reuse.reads_in_parts else Keeps.SYSTEM

    @property
    def worth_waiting_s(self) -> float:
        """How long the first step may wait for company, all streams being new."""
        unread = sum(self._reuse.unread(stream) for stream in self._streams.values())
        return self._pacing.worth_waiting_s(unread)

    def add(self, prepared: Prepared, processors: Sequence[Processor] = ()) -> None:
        """Take a stream in; its prefill begins with the next step if there is a place."""
        text = AnswerText.of(self._loaded.tokenizer, prepared.gen.stop, prepared.reading)
        stream = Stream(prepared, text, processors)
        stream.logprobs = Logprobs.of(prepared.gen, self._bytes_of)
        self._streams[prepared.gen.rid] = stream

    def cancel(self, rid: int, seen_at: float) -> End | None:
        """Take a stream out between two steps; None if there is no such stream (any more).

        *seen_at* (monotonic seconds): when the process learned of it. A token that a step
        returned later was decoded for nobody, a ghost.
        """
        self._gone.discard(rid)
        if (stream := self._streams.get(rid)) is None:
            return None
        self._drop([stream])
        return stream.end("cancelled", ghost_tokens=int(stream.last_token_at > seen_at))

    def will_cancel(self, rid: int) -> None:
        """Say from any thread that `cancel` will follow: a pass for nobody else is given up."""
        self._gone.add(rid)

    @property
    def unsettled(self) -> int:
        """How many streams have left something that is not kept yet."""
        return self._reuse.unsettled

    def settle_some(self) -> None:
        """Keep a part of what streams have left behind. It copies: when reports are out."""
        self._reuse.settle_some()

    # --- one step ------------------------------------------------------------------------------

    def step(self) -> Outcome:
        """Decode one token of every running stream and read a chunk of every new prompt.

        From rest, read short new prompts whole and draw their first tokens.

        Raises:
            TooManyRebuilds: steps keep failing.
        """
        begun = time.monotonic()
        outcome = Outcome()
        self._steps += 1
        at_rest = not self._running
        if at_rest and (new := self._whole.chosen(self._streams.values(), self._running.generator)):
            self._prefill_whole(new, outcome)
        else:
            self._advance(outcome)
        outcome.took_s = time.monotonic() - begun
        return outcome

    def _advance(self, outcome: Outcome) -> None:
        self._reuse.settle_some()
        self._give_places(outcome)
        generator = self._running.generator
        decoding = sum(stream.decoding for stream in self._running)
        prefilling = len(self._running) - decoding
        if prefilling:
            generator.prefill_step_size = self._pacing.share(prefilling, decoding)
        begun = time.monotonic()
        done = self._pass(self._running, generator.next, outcome)
        if done is not None:
            self._reuse.worked()
            self._whole.worked()
            prompts, tokens = done
            ended = time.monotonic()
            self._learn(ended - begun, decoding, prompts, outcome)
            self._collect(tokens, ended, outcome)

    def _pass(self, streams: Iterable[Stream], work: Callable[[], T], outcome: Outcome) -> T | None:
        """Do a pass for *streams*; None: it failed, or they have all left meanwhile."""
        rids = [stream.gen.rid for stream in streams]
        try:
            with self._exit.when(lambda: bool(self._gone) and self._gone.issuperset(rids)):
                done = work()
        except Abandoned:
            self._give_up()
        except Exception as error:  # noqa: BLE001 - mlx-lm leaves the batch in no defined state
            self._rebuild(error, outcome)
        else:
            return done
        return None

    def _prefill_whole(self, new: list[tuple[Stream, Found]], outcome: Outcome) -> None:
        """Read new prompts whole and collect their first tokens, with which they get a place."""
        streams = [stream for stream, _ in new]
        generator = self._running.generator
        all_begun = self._pass(streams, lambda: self._whole.read(new, generator), outcome)
        if all_begun is None:
            return
        now = time.monotonic()
        tokens = list[Token]()
        for begun in all_begun:
            stream = begun.stream
            self._looked_up(stream, begun.reused)
            stream.reused, stream.prompt_done = begun.reused.length, begun.read
            outcome.prefilled += begun.read
            outcome.prompts.append(stream.progress(begun.read, begun.read))
            if (guard_error := stream.error) is not None:
                self._fail([stream], guard_error, outcome)
                continue
            try:
                tokens.append(self._join(begun))
            except Exception as error:  # noqa: BLE001 - only this stream is concerned
                self._fail([stream], error, outcome)
        self._collect(tokens, now, outcome)

    def _join(self, begun: Begun) -> Token:
        """Give a stream its place beyond its first token, and return that, to be collected."""
        stream, first = begun.stream, begun.token
        over = "length" if stream.gen.max_tokens == 1 else None
        over = "stop" if first in self._loaded.eos_token_ids else over
        # The place brings a recorder of its own, which has not seen this token.
        own = stream.recorder.rows.popleft() if stream.recorder else begun.logprobs
        stream.emitted.append(first)
        self._insert(stream, begun.found)
        stream.emitted.pop()  # until it is collected
        stream.decoding = True
        if stream.recorder:
            stream.recorder.rows.append(own)
        return Token(stream.uid, first, begun.logprobs, over, None, None)

    def _give_places(self, outcome: Outcome) -> None:
        if len(self._running) == len(self._streams):
            return
        waiting = [stream for stream in self._streams.values() if stream.uid < 0]
        for stream in waiting:
            if self._running.full:
                break
            self._reuse.settle_for(stream)
            if self._reuse.waits(stream, self._running):
                continue
            found = self._reuse.find(stream, self._running, self._running.generator)
            self._looked_up(stream, found)
            try:
                self._insert(stream, found)
            except Exception as error:  # noqa: BLE001 - only this stream is concerned
                self._fail([stream], error, outcome)

    def _insert(self, stream: Stream, found: Found) -> None:
        self._running.insert(stream, found, self._reuse.segments(stream, found))

    def _looked_up(self, stream: Stream, found: Found) -> None:
        if stream.cached_tokens is None and self._reuse.on:
            stream.cached_tokens, stream.differs_at = found.length, found.differs_at

    def _learn(
        self, took_s: float, decoding: int, prompts: list[PromptProgress], outcome: Outcome
    ) -> None:
        longest = read = 0  # of the chunks of this step
        joined = False
        for progress in prompts:
            stream = self._running[progress.uid]
            if stream.decoding:  # its prompt was read before it came here
                joined = True
                continue
            done, total = progress.progress
            chunk, stream.prompt_done = done - stream.prompt_done, done
            outcome.prefilled += chunk
            if progress.end_of_prompt:
                stream.decoding = joined = True
            else:
                longest, read = max(longest, chunk), read + 1
            if progress.end_of_segment:
                self._reuse.passed(stream, self._running.generator)
            if not stream.emitted:  # a rebuild reads the prompt again, which is nobody's news
                outcome.prompts.append(stream.progress(done, total))
        if joined:
            self._pacing.joined()
        else:
            self._pacing.measured(took_s, decoding, longest * read)

    def _collect(self, tokens: list[Token], now: float, outcome: Outcome) -> None:
        leaving: list[Stream] = []
        outcome.decoded = len(tokens)
        for response in tokens:
            stream = self._running[response.uid]
            stream.drew(response, now)
            if stream.guards and stream.error:
                continue  # its token is arbitrary; ended below
            try:
                report = stream.take(response)
            except Exception as error:  # noqa: BLE001 - a detokenizer that chokes on an id
                self._fail([stream], error, outcome)
                continue
            if isinstance(report, End):
                outcome.endings.append(report)
                leaving.append(stream)
            elif report is not None:
                outcome.pieces.append(report)
        self._drop(leaving)
        for stream in list(self._running):
            if stream.guards and (guard_error := stream.error):
                self._fail([stream], guard_error, outcome)

    # --- leaving -------------------------------------------------------------------------------

    def _drop(self, streams: list[Stream], *, keep: bool = True) -> None:
        if not streams:
            return
        company = len(self._running) > len(streams)
        for stream in streams:
            if keep:
                self._reuse.left(stream, self._running.generator, in_company=company)
            del self._streams[stream.gen.rid]
        self._running.remove(streams)

    def _fail(self, streams: list[Stream], error: Exception, outcome: Outcome) -> None:
        text = f"{type(error).__name__}: {error}"[:500]
        outcome.endings += [Err(stream.gen.rid, "generation_failed", text) for stream in streams]
        self._drop(streams, keep=False)

    def _give_up(self) -> None:
        """The pass under way was for nobody any more; its streams are about to be cancelled."""
        for stream in self._running:
            self._reuse.left_in_pass(stream, self._running.generator)
        self._running.restart()

    # --- when a step fails ---------------------------------------------------------------------

    def _rebuild(self, error: Exception, outcome: Outcome) -> None:
        now = time.monotonic()
        self._rebuilt_at.append(now)
        if len(self._rebuilt_at) > REBUILDS_A_MINUTE and now - self._rebuilt_at[0] < 60.0:
            raise TooManyRebuilds(f"{REBUILDS_A_MINUTE + 1} failed steps in a minute") from error
        sys.stderr.write(f"engine: a step failed, the batch is rebuilt; {self!r}\n")
        traceback.print_exception(error)
        self._reuse.failed()
        self._whole.failed()
        guilty = [stream for stream in self._running if stream.error]
        self._running.restart()
        mx.clear_cache()
        for stream in guilty:
            self._fail([stream], stream.error or error, outcome)
        self._give_places(outcome)
