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
from typing import Any, TypeVar

import attrs
import mlx.core as mx
from mlx_lm.generate import BatchGenerator

from .answer import Stream
from .detokenizing import AnswerText
from .frames import End, Err, Piece, Prompt
from .generator import Generator, Model, PromptProgress, Token
from .leaving import Abandoned, Exit
from .logprobs import Logprobs
from .opening import Drawn, Opening, State, draw
from .pacing import Pacing
from .prompts import Keeps, Prepared
from .reuse import Found, Reuse
from .sampling import Guard, Processor, Sampler, greedy
from .token_bytes import TokenBytes

REBUILDS_A_MINUTE = 3  # more, and the process is worth less than a fresh one
UNTOLD_LOGPROBS = 64  # of tokens without visible text: more would make large frames
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
        self._max_streams = max_streams
        self._make_generator = make_generator
        self._reuse = Reuse.of(loaded.model, prefix_cache_bytes)
        self._opening = Opening.of(loaded.model)
        self._exit = Exit.of(loaded.model)
        self._gone: set[int] = set()  # rids that will be cancelled; written by other threads
        self._generator = self._fresh_generator()
        self._streams: dict[int, Stream] = {}  # by rid, in order of arrival
        self._by_uid: dict[int, Stream] = {}  # those with a place
        self._rebuilt_at: deque[float] = deque(maxlen=REBUILDS_A_MINUTE + 1)
        self._steps = 0
        self._kv_bytes = 0
        self._bytes_of = TokenBytes(loaded.tokenizer)
        self._kv_stale = True

    def __repr__(self) -> str:
        return f"<Batch {len(self._by_uid)}/{self._max_streams} streams, {self._steps} steps>"

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, rid: int) -> bool:
        return rid in self._streams

    @property
    def kv_bytes(self) -> int:
        """Bytes of all caches; those of streams are measured every `MEASURE_KV_EVERY` steps."""
        if self._kv_stale or self._steps % MEASURE_KV_EVERY == 0:
            self._kv_bytes, self._kv_stale = self._generator.prompt_cache_nbytes, False
        return self._kv_bytes + self.prefix_bytes

    @property
    def prefix_bytes(self) -> int:
        """Bytes kept of streams that have left, for those to come."""
        return self._reuse.nbytes

    @property
    def keeps(self) -> Keeps:
        """What prompts must tell for the prefix cache."""
        if not self._reuse.on:
            return Keeps.NOTHING
        return Keeps.SYSTEM if self._reuse.cuttable else Keeps.SYSTEM_AND_TURN

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

    def settle(self) -> None:
        """Keep all that streams have left behind."""
        self._reuse.settle()

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
        if founds := self._to_open():
            self._open(founds, outcome)
        else:
            self._advance(outcome)
        outcome.took_s = time.monotonic() - begun
        return outcome

    def _advance(self, outcome: Outcome) -> None:
        self._reuse.settle_some()
        self._give_places(outcome)
        decoding = sum(stream.decoding for stream in self._by_uid.values())
        prefilling = len(self._by_uid) - decoding
        if prefilling:
            self._generator.prefill_step_size = self._pacing.share(prefilling, decoding)
        begun = time.monotonic()
        done = self._pass(self._by_uid.values(), self._generator.next, outcome)
        if done is not None:
            self._reuse.worked()
            if self._opening is not None:
                self._opening.unproven = False
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

    # --- from rest -----------------------------------------------------------------------------

    def _to_open(self) -> list[tuple[Stream, Found]]:
        """Return the streams that the next pass reads whole, with what they begin with."""
        opening = self._opening
        if self._by_uid or opening is None or not opening.on or not self._reuse.cuttable:
            return []
        chosen: list[Stream] = []
        longest = 0
        for stream in self._streams.values():
            if len(chosen) == self._max_streams:
                break
            self._reuse.settle_for(stream)
            if self._reuse.waits(stream, chosen):
                continue
            longest = max(longest, self._reuse.unread(stream))
            if stream.emitted or longest * (len(chosen) + 1) > self._pacing.idle_tokens:
                return []  # more than a pass may take: in chunks, then
            chosen.append(stream)
        return [(stream, self._reuse.find(stream, (), self._generator)) for stream in chosen]

    def _open(self, founds: list[tuple[Stream, Found]], outcome: Outcome) -> None:
        """Read whole prompts and collect their first tokens, with which they join the others."""
        opening = self._opening
        assert opening is not None
        streams = [stream for stream, _ in founds]
        parts = [stream.history[found.length :] for stream, found in founds]

        def work() -> tuple[list[State], list[Drawn]]:
            with mx.stream(self._generator.stream):
                rows, states = opening.read(parts, [found.state for _, found in founds])
                drawn = [
                    draw(stream, rows[at : at + 1], *self._steering(stream))
                    for at, stream in enumerate(streams)
                ]
                mx.eval(drawn)
            return states, drawn

        if (done := self._pass(streams, work, outcome)) is None:
            return
        now = time.monotonic()
        self._pacing.joined()
        opening.unproven = True
        tokens = list[Token]()
        for (stream, found), part, state, (token, row) in zip(founds, parts, *done, strict=True):
            self._looked_up(stream, found)
            stream.reused, stream.prompt_done = found.length, len(part)
            outcome.prefilled += len(part)
            outcome.prompts.append(stream.progress(len(part), len(part)))
            if (guard_error := stream.error) is not None:
                self._fail([stream], guard_error, outcome)
                continue
            first = int(token)  # an mx.array of one
            over = "length" if stream.gen.max_tokens == 1 else None
            over = "stop" if first in self._loaded.eos_token_ids else over
            own = stream.recorder.rows.popleft() if stream.recorder else row
            stream.emitted.append(first)
            try:
                self._insert(stream, Found(state, found.length + len(part)))
            except Exception as error:  # noqa: BLE001 - only this stream is concerned
                self._fail([stream], error, outcome)
                continue
            stream.emitted.pop()  # until it is collected
            stream.decoding = True
            if stream.recorder:
                stream.recorder.rows.append(own)
            tokens.append(Token(stream.uid, first, row, over, None, None))
        self._collect(tokens, now, outcome)

    def _give_places(self, outcome: Outcome) -> None:
        if len(self._by_uid) == len(self._streams):
            return
        waiting = [stream for stream in self._streams.values() if stream.uid < 0]
        for stream in waiting:
            if len(self._by_uid) >= self._max_streams:
                break
            self._reuse.settle_for(stream)
            if self._reuse.waits(stream, self._by_uid.values()):
                continue
            found = self._reuse.find(stream, self._by_uid.values(), self._generator)
            self._looked_up(stream, found)
            try:
                self._insert(stream, found)
            except Exception as error:  # noqa: BLE001 - only this stream is concerned
                self._fail([stream], error, outcome)

    def _steering(self, stream: Stream) -> tuple[list[Processor], Sampler]:
        """Return what makes the next tokens of *stream*, anew and guarded."""
        sampler = stream.sampler()
        stream.guards = [Guard(call) for call in stream.steering()]
        processors: list[Processor] = list(stream.guards)
        # The shared greedy function stays bare: a batch of one function is sampled in one call.
        if sampler is not greedy:
            sampler = Guard(sampler)
            stream.guards.append(sampler)
        return processors, sampler

    def _insert(self, stream: Stream, found: Found) -> None:
        """Give *stream* a place in the generator, which reads what follows *found*."""
        processors, sampler = self._steering(stream)
        parts = self._reuse.segments(stream, found)
        options: dict[str, Any] = {
            # At least one: what has just drawn its last one leaves before the next step.
            "max_tokens": [max(1, stream.gen.max_tokens - len(stream.emitted))],
            "samplers": [sampler],
            "logits_processors": [processors],
            "caches": [found.state],
            "all_tokens": [stream.history[: found.length]],  # else processors would not see them
        }
        if len(parts) == 1:
            [stream.uid] = self._generator.insert(parts, **options)
        else:
            [stream.uid] = self._generator.insert_segments([parts], **options)
        stream.decoding, stream.prompt_done, stream.reused = False, 0, found.length
        self._by_uid[stream.uid] = stream
        self._kv_stale = True

    def _looked_up(self, stream: Stream, found: Found) -> None:
        if stream.cached_tokens is None and self._reuse.on:
            stream.cached_tokens, stream.differs_at = found.length, found.differs_at

    def _learn(
        self, took_s: float, decoding: int, prompts: list[PromptProgress], outcome: Outcome
    ) -> None:
        longest = read = 0  # of the chunks of this step
        joined = False
        for progress in prompts:
            stream = self._by_uid[progress.uid]
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
                self._reuse.passed(stream, self._generator)
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
            stream = self._by_uid[response.uid]
            stream.emitted.append(response.token)
            stream.unreported += 1
            stream.last_token_at = now
            if response.finish_reason is not None and response.prompt_cache is not None:
                stream.last_state = (response.prompt_cache, response.all_tokens or [])
            if stream.guards and stream.error:
                continue  # its token is arbitrary; ended below
            try:
                ending = self._take_token(stream, response, outcome)
            except Exception as error:  # noqa: BLE001 - a detokenizer that chokes on an id
                self._fail([stream], error, outcome)
                continue
            if ending is not None:
                outcome.endings.append(ending)
                leaving.append(stream)
        self._drop(leaving)
        for stream in list(self._by_uid.values()):
            if stream.guards and (guard_error := stream.error):
                self._fail([stream], guard_error, outcome)

    def _take_token(self, stream: Stream, response: Token, outcome: Outcome) -> End | None:
        reason = response.finish_reason
        text = "" if reason == "stop" else stream.text.add(response.token)
        if stream.logprobs and reason != "stop":
            stream.note_logprob(response.token, response.logprobs)
        if stream.text.stopped:
            return stream.end("stop", text)
        if reason is not None:
            text += stream.text.end(cut=reason == "length")
            return stream.end("stop" if stream.text.stop_met else reason, text)
        many = stream.logprobs and len(stream.logprobs.pending) >= UNTOLD_LOGPROBS
        if text or many or stream.text.untaken:
            outcome.pieces.append(stream.piece(text))
        return None

    # --- leaving -------------------------------------------------------------------------------

    def _drop(self, streams: list[Stream], *, keep: bool = True) -> None:
        if not streams:
            return
        company = len(self._by_uid) > len(streams)
        for stream in streams:
            if keep:
                self._reuse.left(stream, self._generator, in_company=company)
            del self._streams[stream.gen.rid]
            self._by_uid.pop(stream.uid, None)
        self._generator.remove([stream.uid for stream in streams])  # finished ones are unknown
        self._kv_stale = True

    def _fail(self, streams: list[Stream], error: Exception, outcome: Outcome) -> None:
        text = f"{type(error).__name__}: {error}"[:500]
        outcome.endings += [Err(stream.gen.rid, "generation_failed", text) for stream in streams]
        self._drop(streams, keep=False)

    def _give_up(self) -> None:
        """The pass under way was for nobody any more; its streams are about to be cancelled."""
        for stream in self._by_uid.values():
            self._reuse.left_in_pass(stream, self._generator)
            stream.uid = -1
        self._by_uid.clear()
        self._generator.close()
        self._generator = self._fresh_generator()
        self._kv_stale = True

    # --- when a step fails ---------------------------------------------------------------------

    def _rebuild(self, error: Exception, outcome: Outcome) -> None:
        now = time.monotonic()
        self._rebuilt_at.append(now)
        if len(self._rebuilt_at) > REBUILDS_A_MINUTE and now - self._rebuilt_at[0] < 60.0:
            raise TooManyRebuilds(f"{REBUILDS_A_MINUTE + 1} failed steps in a minute") from error
        sys.stderr.write(f"engine: a step failed, the batch is rebuilt; {self!r}\n")
        traceback.print_exception(error)
        self._reuse.failed()
        if self._opening is not None:
            self._opening.failed()
        guilty = [stream for stream in self._by_uid.values() if stream.error]
        self._generator.close()
        self._generator = self._fresh_generator()
        mx.clear_cache()
        for stream in guilty:
            self._fail([stream], stream.error or error, outcome)
        self._by_uid.clear()
        for stream in self._streams.values():
            stream.uid = -1
        self._give_places(outcome)

    def _fresh_generator(self) -> Generator:
        # Prompts are all taken in at once: the sum of their chunks is bounded instead (pacing).
        return self._make_generator(
            self._loaded.model,
            stop_tokens=[[token] for token in self._loaded.eos_token_ids],
            sampler=greedy,
            completion_batch_size=self._max_streams,
            prefill_batch_size=self._max_streams,
            prefill_step_size=self._pacing.idle_tokens,
        )
