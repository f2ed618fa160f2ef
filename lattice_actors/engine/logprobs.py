"""Log-probabilities of the tokens of one answer, for those who ask.

They are the model's own: of its logits before penalties, bias and grammar, and before
temperature and filters. mlx-lm reports rows that its processors have already changed, so a
stream with processors has a `Recorder` in front of them.
"""

from __future__ import annotations

import math
from collections import deque

import attrs
import mlx.core as mx
import numpy as np
import numpy.typing as npt

from .frames import Gen, TokenLogprob
from .token_bytes import TokenBytes

LEAST = -9999.0  # what OpenAI says for a token that cannot come; JSON has no infinity


@attrs.define(eq=False)
class Recorder:
    """Keep the rows of logits that pass, until their tokens come out. Nothing is computed."""

    rows: deque[mx.array] = attrs.field(factory=deque[mx.array])

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        self.rows.append(logits)
        return logits


@attrs.define(eq=False)
class Logprobs:
    """What one answer tells of its tokens, until it has been reported."""

    _bytes_of: TokenBytes
    _top: int  # alternatives of each token
    pending: list[TokenLogprob] = attrs.field(init=False, factory=list[TokenLogprob])

    @classmethod
    def of(cls, gen: Gen, bytes_of: TokenBytes) -> Logprobs | None:
        """Begin for an answer that asked; else return None."""
        return None if gen.logprobs is None else cls(bytes_of, gen.logprobs)

    def add(self, token: int, logits: mx.array) -> None:
        """Note *token*, which was drawn where the model had these *logits*, normalised or not."""
        row: npt.NDArray[np.float32] = np.array(logits.astype(mx.float32)).reshape(-1)
        row -= np.float32(_log_sum_exp(row))
        best = best_of(row, self._top)
        self.pending.append(
            TokenLogprob(
                self._bytes_of(token),
                _finite(row[token]),
                [(self._bytes_of(other), _finite(row[other])) for other in best],
            )
        )

    def take(self) -> list[TokenLogprob]:
        """Return what has not been reported yet."""
        pending, self.pending = self.pending, []
        return pending


def best_of(row: npt.NDArray[np.float32], count: int) -> list[int]:
    """Return the *count* likeliest tokens, the likeliest first, of equals the smaller id."""
    count = min(count, len(row))
    if count == 0:
        return []
    found = np.argpartition(-row, count - 1)[:count]
    order = np.lexsort((found, -row[found]))
    ids: list[int] = found[order].tolist()
    return ids


def _log_sum_exp(row: npt.NDArray[np.float32]) -> float:
    most = float(row.max())
    if not math.isfinite(most):
        return 0.0
    return most + math.log(float(np.exp(row - most).sum()))


def _finite(logprob: np.float32) -> float:
    value = float(logprob)
    return max(LEAST, value) if math.isfinite(value) else LEAST
