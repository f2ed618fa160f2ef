"""How the next token of one stream is drawn.

Every sampled stream has a random key of its own and nothing here touches mlx's global random
state: one exception inside a library filter can leave that state broken for the whole process.
The key of a token depends on the seed and the token's place in the answer alone, so an answer
does not depend on its neighbours, and a rebuilt batch goes on where it was.

The filters work on log-probabilities before the temperature, in the order top_p, min_p, top_k,
as in mlx_lm.sample_utils; unlike those they are not compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import mlx.core as mx

Sampler = Callable[[mx.array], mx.array]  # (rows, vocab) log-probabilities -> (rows,) token ids
Processor = Callable[[mx.array, mx.array], mx.array]  # (tokens so far, (1, vocab) logits) -> logits

GREEDY_BELOW = 1e-5  # dividing by less overflows float32, and the argmax always wins anyway
WORD = 2**64 - 1


def greedy(logprobs: mx.array) -> mx.array:
    """Take the likeliest token. One shared function: a batch of it is one call."""
    return mx.argmax(logprobs, axis=-1)


def token_key(seed: int, place: int) -> int:
    """Return the 64-bit key of the token at *place*: SplitMix64 (Steele et al. 2014)."""
    word = (seed * 0xD1342543DE82EF95 + (place + 1) * 0x9E3779B97F4A7C15) & WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


@attrs.define(eq=False)
class SeededSampler:
    """Draw the tokens of one answer, in order."""

    temperature: float
    seed: int
    top_p: float = 1.0  # (0, 1]; 1 is off
    top_k: int = 0  # 0 is off
    min_p: float = 0.0  # [0, 1]; 0 is off
    drawn: int = 0  # tokens drawn so far, also those before a rebuild

    def __call__(self, logprobs: mx.array) -> mx.array:
        if 0.0 < self.top_p < 1.0:
            logprobs = keep_top_p(logprobs, self.top_p)
        if self.min_p > 0.0:
            logprobs = keep_min_p(logprobs, self.min_p)
        if 0 < self.top_k < logprobs.shape[-1]:
            logprobs = keep_top_k(logprobs, self.top_k)
        key = mx.random.key(token_key(self.seed, self.drawn))
        self.drawn += 1
        return mx.random.categorical(logprobs * (1.0 / self.temperature), key=key)


def keep_top_p(logprobs: mx.array, top_p: float) -> mx.array:
    """Keep the smallest set of likeliest tokens whose mass reaches *top_p*."""
    ordered = mx.sort(logprobs, axis=-1)
    probs = mx.exp(ordered.astype(mx.float32))
    mass_above = mx.cumsum(probs, axis=-1, reverse=True, inclusive=False)
    total = mass_above[..., :1] + probs[..., :1]
    dropped = (mass_above >= top_p * total).sum(axis=-1, keepdims=True)
    least = mx.take_along_axis(ordered, dropped, axis=-1)
    return mx.where(logprobs < least, -math.inf, logprobs)


def keep_min_p(logprobs: mx.array, min_p: float) -> mx.array:
    """Keep tokens at least *min_p* times as likely as the likeliest."""
    least = mx.max(logprobs, axis=-1, keepdims=True) + math.log(min_p)
    return mx.where(logprobs < least, -math.inf, logprobs)


def keep_top_k(logprobs: mx.array, top_k: int) -> mx.array:
    """Keep the *top_k* likeliest tokens, and what ties with the last of them."""
    least = mx.min(mx.topk(logprobs, top_k, axis=-1), axis=-1, keepdims=True)
    return mx.where(logprobs < least, -math.inf, logprobs)


@attrs.define(eq=False)
class Guard:
    """A sampler or processor that never raises inside a step.

    mlx-lm isolates nothing: an exception from one stream's callable loses its neighbours. The
    first error is kept for the batch to find after the step; from then on tokens are arbitrary.
    MLX is lazy, so what fails only at evaluation is not caught here.
    """

    call: Callable[..., mx.array]
    error: Exception | None = None

    def __call__(self, *inputs: mx.array) -> mx.array:
        if self.error is None:
            try:
                return self.call(*inputs)
            except Exception as error:  # noqa: BLE001 - reported by the batch after the step
                self.error = error
        return inputs[-1] if len(inputs) == 2 else mx.argmax(inputs[-1], axis=-1)
