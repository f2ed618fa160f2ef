"""What a request changes about the logits of its own answer.

All of it is computed from the tokens so far, and nothing is remembered between two calls: a
stream of a rebuilt batch goes on exactly as before. Nothing here waits for a token either, so
mlx-lm still computes one step ahead.

In this order, as in vLLM: the repetition penalty (which scales the model's own logits), presence
and frequency, then the bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import mlx.core as mx

from .frames import Gen
from .sampling import Processor


@attrs.frozen
class RepetitionPenalty:
    """Make every token of the prompt and the answer *penalty* times less likely to come again.

    As in Keskar et al. 2019 and in mlx-lm, but over the whole text and not its last 20 tokens.
    """

    penalty: float  # above 1 discourages; (0, 1) encourages

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        old = logits[:, tokens]
        new = mx.where(old < 0, old * self.penalty, old / self.penalty)
        return mx.put_along_axis(logits, tokens[None], new.astype(logits.dtype), axis=-1)


@attrs.frozen
class AnswerPenalties:
    """OpenAI's two penalties, which look at the answer alone.

    A token that the answer has *count* times loses ``presence + count * frequency``.
    """

    prompt_tokens: int  # the first of the tokens, which do not count
    presence: float
    frequency: float

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        said = tokens[self.prompt_tokens :]
        if not said.size:
            return logits
        nothing = mx.zeros(logits.shape[-1], dtype=logits.dtype)
        counts = nothing.at[said].add(mx.ones(said.shape, dtype=logits.dtype))
        return logits - self.frequency * counts - self.presence * (counts > 0)


@attrs.frozen
class LogitBias:
    """Add to the logits of single tokens."""

    ids: mx.array
    values: mx.array  # (1, ids)

    @classmethod
    def of(cls, bias: Mapping[int, float]) -> LogitBias:
        """Take a map from token to what is added to its logit."""
        return cls(mx.array(list(bias)), mx.array([list(bias.values())]))

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        return logits.at[:, self.ids].add(self.values.astype(logits.dtype))


def processors_of(gen: Gen, prompt_tokens: int) -> list[Processor]:
    """Return what *gen* asks for, which is usually nothing.

    *prompt_tokens*: how many of the tokens that a processor sees are the prompt's.
    """
    asked: list[Processor] = []
    if gen.repetition_penalty != 1:
        asked.append(RepetitionPenalty(gen.repetition_penalty))
    if gen.presence_penalty or gen.frequency_penalty:
        asked.append(AnswerPenalties(prompt_tokens, gen.presence_penalty, gen.frequency_penalty))
    if gen.logit_bias:
        asked.append(LogitBias.of(gen.logit_bias))
    return asked
