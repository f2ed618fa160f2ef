"""One answer in the making: its prompt, its text, what it has drawn so far."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from .detokenizing import AnswerText
from .frames import End, Gen, Piece, Prompt
from .generator import State, Token
from .logprobs import Logprobs, Recorder
from .penalties import processors_of
from .prefixes import Ids, ids_of
from .prompts import Prepared
from .sampling import GREEDY_BELOW, Guard, Processor, Sampler, SeededSampler, greedy

UNTOLD_LOGPROBS = 64  # of tokens without visible text: more would make large frames


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
    reused: int = 0  # tokens it did not have to read
    waits: bool = False  # for what another stream is reading (reuse.py)
    cached_tokens: int | None = None  # of the prompt, reused at first; None: nothing looked up
    differs_at: int = 0  # index of the first token that nobody had read
    cuts: list[int] = attrs.field(factory=list[int])  # where the state is to be kept (reuse.py)
    _prompt_ids: Ids | None = attrs.field(init=False, default=None)
    last_state: tuple[State, list[int]] | None = None  # caches and tokens of a finished one
    last_token_at: float = 0.0  # monotonic: the end of the step that returned it

    @property
    def gen(self) -> Gen:
        """What was asked."""
        return self.prepared.gen

    @property
    def history(self) -> list[int]:
        """All tokens so far."""
        return self.prepared.tokens + self.emitted

    @property
    def ids(self) -> Ids:
        """`history`, to be compared."""
        if self._prompt_ids is None:
            self._prompt_ids = ids_of(self.prepared.tokens)
        if not self.emitted:
            return self._prompt_ids
        return np.concatenate([self._prompt_ids, ids_of(self.emitted)])

    @property
    def read(self) -> int:
        """How many tokens of `history` are in the caches."""
        if self.decoding:
            return len(self.prepared.tokens) + len(self.emitted)
        return self.reused + self.prompt_done

    @property
    def error(self) -> Exception | None:
        """The first thing a sampler or processor of this stream raised."""
        return next((guard.error for guard in self.guards if guard.error), None)

    def steering(self) -> tuple[list[Processor], Sampler]:
        """Return what makes its next tokens, guarded: what works on its logits, in order, and how
        one is drawn. Anew for each generator, to go on after the emitted tokens.
        """
        sampler = self._sampler()
        self.guards = [Guard(call) for call in self._processors()]
        processors: list[Processor] = list(self.guards)
        # The shared greedy function stays bare: a batch of one function is sampled in one call.
        if sampler is not greedy:
            sampler = Guard(sampler)
            self.guards.append(sampler)
        return processors, sampler

    def _processors(self) -> list[Processor]:
        asked = processors_of(self.gen, len(self.prepared.tokens))
        if self.prepared.grammar is not None:  # last, as nothing may allow what it forbids
            mask = self.prepared.grammar.mask(len(self.prepared.tokens), self.prepared.free_until)
            asked.append(mask)
        steering = [*self.processors, *asked]
        self.recorder = Recorder() if steering and self.logprobs else None
        return [self.recorder, *steering] if self.recorder else steering

    def _sampler(self) -> Sampler:
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

    def drew(self, token: Token, now: float) -> None:
        """A step returned *token*, whatever it is worth. *now*: its end, monotonic seconds."""
        self.emitted.append(token.token)
        self.unreported += 1
        self.last_token_at = now
        if token.finish_reason is not None and token.prompt_cache is not None:
            self.last_state = (token.prompt_cache, token.all_tokens or [])

    def take(self, token: Token) -> Piece | End | None:
        """Make text of a token that was drawn; return what is to be reported now, if anything."""
        reason = token.finish_reason
        text = "" if reason == "stop" else self.text.add(token.token)
        if self.logprobs and reason != "stop":
            # Ours are from before our processors; the generator's are from after them.
            row = self.recorder.rows.popleft() if self.recorder else token.logprobs
            self.logprobs.add(token.token, row)
        if self.text.stopped:
            return self.end("stop", text)
        if reason is not None:
            text += self.text.end(cut=reason == "length")
            return self.end("stop" if self.text.stop_met else reason, text)
        many = self.logprobs and len(self.logprobs.pending) >= UNTOLD_LOGPROBS
        return self.piece(text) if text or many or self.text.untaken else None

    def progress(self, done: int, total: int) -> Prompt:
        """Return a report of the tokens read, *done* of *total* by the generator."""
        reused = self.reused
        return Prompt(
            self.gen.rid, reused + done, reused + total, self.cached_tokens, self.differs_at
        )

    def piece(self, text: str) -> Piece:
        """Return what it has gained since the last piece."""
        told = self.logprobs.take() if self.logprobs else []
        gained, self.unreported = self.unreported, 0
        return Piece(self.gen.rid, text, gained, told, *self.text.take())

    def end(self, reason: str, text: str = "", ghost_tokens: int = 0) -> End:
        """Return its last report."""
        reasoning, calls = self.text.take()
        return End(
            self.gen.rid,
            "tool_calls" if reason == "stop" and self.text.calling else reason,
            prompt_tokens=len(self.prepared.tokens),
            completion_tokens=len(self.emitted),
            cached_tokens=self.cached_tokens or 0,
            text=text,
            tokens=self.unreported,
            ghost_tokens=ghost_tokens,
            trimmed_messages=self.prepared.trimmed_messages,
            logprobs=self.logprobs.take() if self.logprobs else [],
            reasoning=reasoning,
            calls=calls,
            reasoning_tokens=self.text.reasoning_tokens,
            stop=self.text.stop,
        )
