"""One pass over whole prompts that gives the logits of their last tokens, and of no others.

A whole prompt has a row of logits for each of its tokens, and only the last one is wanted. So
the last layer, which is the largest of a small model, is made to work on these rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from .generator import State


@attrs.define(eq=False)
class Rows:
    """Which rows the last layer works on; None: all."""

    last: list[int] | None = None  # of each prompt


@attrs.define(eq=False)
class LastLogits:
    """One model, prepared for such passes. `of` makes it."""

    _model: Any
    _rows: Rows

    @classmethod
    def of(cls, model: object) -> LastLogits | None:
        """Prepare a loaded model, once, whoever asks again. None: its last layer is not found."""
        heads = list(_heads(model))
        if not heads:
            return None
        known: Rows | None = getattr(type(heads[0][0]), "lattice_rows", None)
        rows = known or Rows()
        for module, method in () if known else heads:
            _narrow(module, method, rows)
        return cls(model, rows)

    def read(
        self, prompts: Sequence[list[int]], states: Sequence[State | None]
    ) -> tuple[mx.array, list[State]]:
        """Read *prompts*, each after its state, or from nothing where that is None.

        Return the last logits, of shape (prompts, vocab), and each prompt's state after it.
        Nothing is waited for: mlx computes them when they are looked at.
        """
        caches = [state or make_prompt_cache(self._model) for state in states]
        if len(prompts) == 1:
            [prompt] = prompts
            return self._pass(mx.array([prompt]), caches[0], [len(prompt)]), caches
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        padding = [longest - length for length in lengths]
        batch = [alike[0].merge(list(alike)) for alike in zip(*caches, strict=True)]
        if any(padding):
            for cache in batch:
                cache.prepare(lengths=lengths, right_padding=padding)
        tokens = mx.array([prompt + [0] * (longest - len(prompt)) for prompt in prompts])
        logits = self._pass(tokens, batch, lengths)
        if any(padding):
            for cache in batch:
                cache.finalize()
        return logits, [[cache.extract(at) for cache in batch] for at in range(len(prompts))]

    def _pass(self, tokens: mx.array, cache: State, lengths: list[int]) -> mx.array:
        last = [length - 1 for length in lengths]
        with self._only(last):
            logits: mx.array = self._model(tokens, cache=cache)
        return (logits if logits.shape[1] == 1 else _at(logits, last))[:, 0]

    @contextmanager
    def _only(self, last: list[int]) -> Iterator[None]:
        self._rows.last = last
        try:
            yield
        finally:
            self._rows.last = None


def _heads(model: object) -> Iterator[tuple[Any, str]]:
    """The layers that may make the logits, and the method that does it."""
    for owner in (model, getattr(model, "language_model", None)):
        if (head := getattr(owner, "lm_head", None)) is not None:
            yield head, "__call__"
        embedding = getattr(getattr(owner, "model", None), "embed_tokens", None)
        if hasattr(embedding, "as_linear"):
            yield embedding, "as_linear"


def _narrow(module: Any, method: str, rows: Rows) -> None:  # noqa: ANN401
    """Make *method* of *module* work on the wanted rows alone."""
    plain = type(module)
    whole = getattr(plain, method)

    def narrowed(self: Any, x: mx.array) -> mx.array:  # noqa: ANN401
        last = rows.last
        narrow = last is not None and x.ndim == 3 and x.shape[1] > 1
        result: mx.array = whole(self, _at(x, last or []) if narrow else x)
        return result

    # mlx finds a layer's `__call__` on its class, and this is about one layer alone.
    module.__class__ = type(plain.__name__, (plain,), {method: narrowed, "lattice_rows": rows})


def _at(x: mx.array, last: list[int]) -> mx.array:
    """Return row *last* of each prompt in *x*, of shape (prompts, 1, width)."""
    if len(last) == 1:
        return x[:, last[0] : last[0] + 1]
    return x[mx.arange(len(last)), mx.array(last)][:, None]
