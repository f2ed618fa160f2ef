"""What is to be embedded, from a command to rows of token ids that the model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import attrs

from .frames import Embed, Refused

if TYPE_CHECKING:  # it imports mlx, which must not happen before `Hello` and the BLAS
    from tokenizers import Tokenizer

    from .embedding import Embedder

MAX_REQUEST_TOKENS = 300_000  # of all texts together, as at OpenAI
TEXTS_AT_ONCE = 64  # between two looks at whether anybody still wants them


@attrs.frozen(eq=False)
class Tokenised:
    """A request as the model takes it."""

    rid: int
    rows: list[list[int]] = attrs.field(repr=False)
    dimensions: int | None  # shorten to so many


class InputProblem(Exception):
    """The request is at fault; its words are for the caller."""

    def __init__(self, code: str, text: str, param: str) -> None:
        super().__init__(text)
        self.code, self.param = code, param


@attrs.define(eq=False)
class InputReader:
    """Makes rows of token ids. For one thread."""

    _model: Embedder
    _cutting: Tokenizer | None = attrs.field(init=False, default=None)

    def read(self, asked: Embed, wanted: Callable[[int], bool]) -> Tokenised | Refused | None:
        """Return the rows of *asked*, or why not; None where nobody *wanted* them any more."""
        try:
            dimensions = self._dimensions(asked.dimensions)
            rows: list[list[int]] = []
            total = 0
            for at in range(0, len(asked.inputs), TEXTS_AT_ONCE):
                if not wanted(asked.rid):
                    return None
                for row in self._rows(asked, at):
                    rows.append(row)
                    total += len(row)
                _check_total(total)
        except InputProblem as problem:
            text = f"{problem.param}: {problem}"
            return Refused(asked.rid, problem.code, text, problem.param)
        return Tokenised(asked.rid, rows, dimensions)

    def _rows(self, asked: Embed, start: int) -> Iterator[list[int]]:
        model = self._model
        limit = min(model.longest_tokens, asked.context_tokens or model.longest_tokens)
        some = asked.inputs[start : start + TEXTS_AT_ONCE]
        texts = [one for one in some if isinstance(one, str)]
        if model.recipe.lower_case:
            texts = [text.lower() for text in texts]
        tokenizer = self._cutting_at(limit) if asked.truncate else model.tokenizer
        encoded = iter(tokenizer.encode_batch(texts))
        for index, one in enumerate(some, start):
            param = f"input[{index}]" if asked.listed else "input"
            if isinstance(one, str):
                row = next(encoded).ids
            else:
                row = one[:limit] if asked.truncate else one
                if not all(0 <= token < model.vocab for token in row):
                    text = f"a token id is not in [0, {model.vocab})"
                    raise InputProblem("invalid_token", text, param)
            if len(row) > limit:
                text = (
                    f"{len(row)} tokens, and the model takes {limit}; "
                    "shorten it, or send truncate: true"
                )
                raise InputProblem("context_length_exceeded", text, param)
            if not row:
                raise InputProblem("empty_input", "it has no tokens", param)
            yield row

    def _cutting_at(self, limit: int) -> Tokenizer:
        """Return a tokenizer that cuts, and leaves the special tokens at the end in place."""
        from tokenizers import Tokenizer

        if self._cutting is None:
            self._cutting = Tokenizer.from_str(self._model.tokenizer.to_str())
        special = self._cutting.num_special_tokens_to_add(is_pair=False)
        self._cutting.enable_truncation(max(limit, special + 1))
        return self._cutting

    def _dimensions(self, asked: int | None) -> int | None:
        width, recipe = self._model.width, self._model.recipe
        if asked is None or asked == width:
            return None
        if asked > width:
            text = f"the model's vectors have {width} numbers only"
            raise InputProblem("invalid_value", text, "dimensions")
        if not recipe.shortens:
            text = f"the model was not made for shorter vectors than its {width} numbers"
            raise InputProblem("unsupported_parameter", text, "dimensions")
        if recipe.sizes and asked not in recipe.sizes:
            sizes = ", ".join(map(str, recipe.sizes))
            raise InputProblem("invalid_value", f"the model offers {sizes}", "dimensions")
        return asked


def _check_total(tokens: int) -> None:
    if tokens > MAX_REQUEST_TOKENS:
        text = f"more than {MAX_REQUEST_TOKENS} tokens in one request"
        raise InputProblem("max_tokens_per_request", text, "input")
