"""Prefill from rest: new prompts are read whole in one pass, which gives their first tokens.

mlx-lm reads a prompt but for its last token, passes that one alone, and shows what came of it
when the pass after has been sent off. On a CPU that is when it is done, so the first token costs
three passes. While nobody decodes, prompts can be read whole: the last row of that one pass is
the first token, and mlx-lm goes on from there as after a prompt that was read before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import mlx.core as mx

from .answer import Stream
from .generator import Generator, State
from .last_logits import LastLogits
from .pacing import Pacing
from .reuse import Found, Reuse
from .sampling import Processor, Sampler

MOST_SUSPECTED = 2  # failed steps right after a use, until it is switched off


@attrs.frozen(eq=False)
class Begun:
    """A stream whose prompt has been read whole, and the first token that came of it."""

    stream: Stream
    reused: Found
    read: int  # tokens of this pass
    state: State  # after the whole prompt
    token: int
    logprobs: mx.array  # (vocab,), what it was drawn from

    @property
    def found(self) -> Found:
        """What the generator goes on from."""
        return Found(self.state, self.reused.length + self.read)


@attrs.define(eq=False)
class WholePrefill:
    """Reads new prompts of one batch whole, as long as what follows from it works."""

    _logits: LastLogits | None  # None: this model cannot be read so
    _reuse: Reuse
    _pacing: Pacing
    _most: int  # prompts of one pass
    _unproven: bool = attrs.field(init=False, default=False)  # used since the last good step
    _suspected: int = attrs.field(init=False, default=0)  # steps that failed right after a use

    def chosen(self, streams: Iterable[Stream], generator: Generator) -> list[tuple[Stream, Found]]:
        """Return which of *streams*, all of them new, are read next, and what they begin with.

        None of them, where that would be more than one step may read: then it is read in chunks.
        """
        if self._logits is None or self._suspected >= MOST_SUSPECTED or self._reuse.reads_in_parts:
            return []
        chosen: list[Stream] = []
        longest = 0
        for stream in streams:
            if len(chosen) == self._most:
                break
            self._reuse.settle_for(stream)
            if self._reuse.waits(stream, chosen):
                continue
            longest = max(longest, self._reuse.unread(stream))
            if stream.emitted or longest * (len(chosen) + 1) > self._pacing.idle_tokens:
                return []
            chosen.append(stream)
        return [(stream, self._reuse.find(stream, (), generator)) for stream in chosen]

    def read(self, chosen: Sequence[tuple[Stream, Found]], generator: Generator) -> list[Begun]:
        """Read the prompts of *chosen* in one pass and draw their first tokens; waits for them."""
        assert self._logits is not None
        parts = [stream.history[found.length :] for stream, found in chosen]
        with mx.stream(generator.stream):
            rows, states = self._logits.read(parts, [found.state for _, found in chosen])
            drawn = [
                _draw(stream, rows[at : at + 1], *stream.steering())
                for at, (stream, _) in enumerate(chosen)
            ]
            mx.eval(drawn)
        self._pacing.joined()
        self._unproven = True
        return [
            Begun(stream, found, len(part), state, int(token), logprobs)  # an mx.array of one
            for (stream, found), part, state, (token, logprobs) in zip(
                chosen, parts, states, drawn, strict=True
            )
        ]

    def worked(self) -> None:
        """A step of the generator went well."""
        self._unproven = False

    def failed(self) -> None:
        """A step failed. Twice right after a use: never used again."""
        self._suspected += self._unproven
        self._unproven = False


def _draw(
    stream: Stream, logits: mx.array, processors: Sequence[Processor], sampler: Sampler
) -> tuple[mx.array, mx.array]:
    """Draw the first token of *stream* from its *logits*, of shape (1, vocab).

    As mlx-lm does it for the tokens that follow. Return the token, of shape (1,), and the
    log-probabilities it was drawn from.
    """
    tokens = mx.array(stream.history)
    for processor in processors:
        logits = processor(tokens, logits)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return sampler(logprobs), logprobs[0]
