"""One answer in the making: its prompt, its text, what it has drawn so far."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import mlx.core as mx

from .detokenizing import AnswerText
from .frames import End, Gen, Piece
from .logprobs import Logprobs, Recorder
from .penalties import processors_of
from .prompts import Prepared
from .sampling import GREEDY_BELOW, Guard, Processor, Sampler, SeededSampler, greedy


@attrs.define(eq=False)
class Stream:
    """One answer in the making."""

    prepared: Prepared
    text: AnswerText
    processors: Sequence[Processor]
    uid: int = -1  # in the generator of the moment; -1: waits for a place
    guards: list[Guard] = attrs.field(factory=list[Guard])
    emitted: list[int] = attrs.field(factory=list[int])
    unreported: int = 0  # emitted tokens that no piece has counted yet
    decoding: bool = False
    logprobs: Logprobs | None = None
    recorder: Recorder | None = None  # in the generator of the moment
    prompt_done: int = 0  # tokens the generator of the moment has read
    last_token_at: float = 0.0  # monotonic: the end of the step that returned it

    @property
    def gen(self) -> Gen:
        return self.prepared.gen

    @property
    def error(self) -> Exception | None:
        """The first thing a sampler or processor of this stream raised."""
        return next((guard.error for guard in self.guards if guard.error), None)

    def steering(self) -> list[Processor]:
        """Return what works on its logits, in order; anew for each generator."""
        asked = processors_of(self.gen, len(self.prepared.tokens))
        if self.prepared.grammar is not None:  # last, as nothing may allow what it forbids
            asked.append(self.prepared.grammar.mask(len(self.prepared.tokens)))
        steering = [*self.processors, *asked]
        self.recorder = Recorder() if steering and self.logprobs else None
        return [self.recorder, *steering] if self.recorder else steering

    def note_logprob(self, token: int, row: mx.array) -> None:
        """Note how likely *token* was. *row*: what the generator says, after our processors."""
        own = self.recorder.rows.popleft() if self.recorder else row
        if self.logprobs:
            self.logprobs.add(token, own)

    def sampler(self) -> Sampler:
        """Return a sampler that goes on after the emitted tokens."""
        gen = self.gen
        if gen.temperature < GREEDY_BELOW:
            return greedy
        return SeededSampler(
            gen.temperature,
            self.prepared.seed,
            gen.top_p,
            gen.top_k,
            gen.min_p,
            drawn=len(self.emitted),
        )

    def piece(self, text: str) -> Piece:
        """Return what it has gained since the last piece."""
        told = self.logprobs.take() if self.logprobs else []
        gained, self.unreported = self.unreported, 0
        return Piece(self.gen.rid, text, gained, told)

    def end(self, reason: str, text: str = "", ghost_tokens: int = 0) -> End:
        """Return its last report."""
        return End(
            self.gen.rid,
            reason,
            prompt_tokens=len(self.prepared.tokens),
            completion_tokens=len(self.emitted),
            text=text,
            tokens=self.unreported,
            ghost_tokens=ghost_tokens,
            trimmed_messages=self.prepared.trimmed_messages,
            logprobs=self.logprobs.take() if self.logprobs else [],
        )
