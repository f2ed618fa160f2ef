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
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
import mlx.core as mx
from mlx_lm.generate import BatchGenerator, GenerationBatch, PromptProcessingBatch

from .answer import Stream
from .detokenizing import AnswerText, HasDetokenizer
from .frames import End, Err, Piece, Prompt
from .logprobs import Logprobs
from .pacing import Pacing
from .prompts import Keeps, Prepared
from .reuse import Reuse
from .sampling import Guard, Processor, Sampler, greedy
from .token_bytes import TokenBytes, Vocabulary

REBUILDS_A_MINUTE = 3  # more, and the process is worth less than a fresh one
UNTOLD_LOGPROBS = 64  # of tokens without visible text: more would make large frames
MEASURE_KV_EVERY = 16  # steps; and whenever a stream came or went

PromptProgress = PromptProcessingBatch.Response
Token = GenerationBatch.Response


class TooManyRebuilds(Exception):
    """The batch keeps failing: give up this process."""


class Generator(Protocol):
    """What we use of `BatchGenerator`; tests put failing ones in its place."""

    prefill_step_size: int  # read anew in each step

    @property
    def prompt_cache_nbytes(self) -> int: ...

    def insert(
        self,
        prompts: list[list[int]],
        max_tokens: list[int] | None = None,
        *,
        samplers: list[Sampler] | None = None,
        logits_processors: list[list[Processor]] | None = None,
        caches: list[Any] | None = None,
        all_tokens: list[list[int]] | None = None,
    ) -> list[int]: ...

    def insert_segments(
        self,
        segments: list[list[list[int]]],
        max_tokens: list[int] | None = None,
        *,
        samplers: list[Sampler] | None = None,
        logits_processors: list[list[Processor]] | None = None,
        caches: list[Any] | None = None,
        all_tokens: list[list[int]] | None = None,
    ) -> list[int]: ...

    def extract_cache(self, uids: list[int]) -> dict[int, tuple[list[Any], list[int]]]: ...

    def next(self) -> tuple[list[PromptProgress], list[Token]]: ...

    def remove(self, uids: list[int]) -> object: ...

    def close(self) -> None: ...


class BatchTokenizer(HasDetokenizer, Vocabulary, Protocol):
    """What we use of a tokenizer here."""


class Model(Protocol):
    """What a loaded model must offer to be decoded."""

    @property
    def model(self) -> object: ...

    @property
    def tokenizer(self) -> BatchTokenizer: ...

    @property
    def eos_token_ids(self) -> Sequence[int]: ...


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
        if (stream := self._streams.get(rid)) is None:
            return None
        self._drop([stream])
        return stream.end("cancelled", ghost_tokens=int(stream.last_token_at > seen_at))

    def settle(self) -> None:
        """Keep what streams have left behind. It copies: call it when reports are out."""
        self._reuse.settle()

    # --- one step ------------------------------------------------------------------------------

    def step(self) -> Outcome:
        """Decode one token of every running stream and read a chunk of every new prompt.

        Raises:
            TooManyRebuilds: steps keep failing.
        """
        begun = time.monotonic()
        self.settle()
        outcome = Outcome()
        self._give_places(outcome)
        decoding = sum(stream.decoding for stream in self._by_uid.values())
        prefilling = len(self._by_uid) - decoding
        if prefilling:
            self._generator.prefill_step_size = self._pacing.share(prefilling, decoding)
        self._steps += 1
        try:
            prompts, tokens = self._generator.next()
        except Exception as error:  # noqa: BLE001 - mlx-lm leaves the batch in no defined state
            self._rebuild(error, outcome)
        else:
            self._reuse.worked()
            ended = time.monotonic()
            self._learn(ended - begun, decoding, prompts, outcome)
            self._collect(tokens, ended, outcome)
        outcome.took_s = time.monotonic() - begun
        return outcome

    def _give_places(self, outcome: Outcome) -> None:
        if len(self._by_uid) == len(self._streams):
            return
        waiting = [stream for stream in self._streams.values() if stream.uid < 0]
        for stream in waiting:
            if len(self._by_uid) >= self._max_streams:
                break
            if self._reuse.waits(stream, self._by_uid.values()):
                continue
            try:
                self._insert(stream)
            except Exception as error:  # noqa: BLE001 - only this stream is concerned
                self._fail([stream], error, outcome)

    def _insert(self, stream: Stream) -> None:
        sampler = stream.sampler()
        stream.guards = [Guard(call) for call in stream.steering()]
        processors: list[Processor] = list(stream.guards)
        # The shared greedy function stays bare: a batch of one function is sampled in one call.
        if sampler is not greedy:
            sampler = Guard(sampler)
            stream.guards.append(sampler)
        found = self._reuse.find(stream, self._by_uid.values(), self._generator)
        parts = self._reuse.segments(stream, found)
        options: dict[str, Any] = {
            "max_tokens": [stream.gen.max_tokens - len(stream.emitted)],
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
        if stream.cached_tokens is None and self._reuse.on:
            stream.cached_tokens, stream.differs_at = found.length, found.differs_at
        self._by_uid[stream.uid] = stream
        self._kv_stale = True

    def _learn(
        self, took_s: float, decoding: int, prompts: list[PromptProgress], outcome: Outcome
    ) -> None:
        longest = read = 0  # of the chunks of this step
        joined = False
        for progress in prompts:
            stream = self._by_uid[progress.uid]
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
        for stream in streams:
            if keep:
                self._reuse.left(stream, self._generator)
            del self._streams[stream.gen.rid]
            self._by_uid.pop(stream.uid, None)
        self._generator.remove([stream.uid for stream in streams])  # finished ones are unknown
        self._kv_stale = True

    def _fail(self, streams: list[Stream], error: Exception, outcome: Outcome) -> None:
        text = f"{type(error).__name__}: {error}"[:500]
        outcome.endings += [Err(stream.gen.rid, "generation_failed", text) for stream in streams]
        self._drop(streams, keep=False)

    # --- when a step fails ---------------------------------------------------------------------

    def _rebuild(self, error: Exception, outcome: Outcome) -> None:
        now = time.monotonic()
        self._rebuilt_at.append(now)
        if len(self._rebuilt_at) > REBUILDS_A_MINUTE and now - self._rebuilt_at[0] < 60.0:
            raise TooManyRebuilds(f"{REBUILDS_A_MINUTE + 1} failed steps in a minute") from error
        sys.stderr.write(f"engine: a step failed, the batch is rebuilt; {self!r}\n")
        traceback.print_exception(error)
        self._reuse.failed()
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
