"""Answers that keep to a grammar: what tokens may come next, by llguidance.

A grammar is compiled on a thread of its own. llguidance bounds its work itself (items, states,
fuel of the lexer), in compiling and in each mask, so a hostile grammar costs milliseconds a step.

The mask of a step needs the token of the step before. The forward pass does not wait for the
mask: it is sent off first, and the grammar works beside it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs
import llguidance.hf
import llguidance.numpy
import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLTokenizer, grammar_from

from .call_grammar import WHITESPACE
from .frames import Grammar

KEPT = 32  # compiled grammars; a client sends the same schema again and again
REASON_CHARS = 300


class GrammarProblem(Exception):
    """The grammar, or the model's tokenizer, is at fault; the text is for the client."""


class GrammarFailed(Exception):
    """The matcher has given up in mid-answer: over its limits, or on NaN logits."""


@attrs.frozen(eq=False)
class Compiled:
    """One grammar for one model. Answers share it, each with a matcher of its own."""

    _prototype: LLMatcher
    _ends: Sequence[int]  # the end-of-sequence tokens

    def mask(self, prompt_tokens: int, after: Sequence[int] = ()) -> GrammarMask:
        """Begin an answer after *prompt_tokens*; tokens that were emitted already may follow.

        *after*: it is free until it has these tokens in a row.
        """
        return GrammarMask(self._prototype.deep_copy(), self._ends, prompt_tokens, tuple(after))


@attrs.define(eq=False)
class GrammarMask:
    """A processor that leaves only what the grammar allows."""

    _matcher: LLMatcher
    _ends: Sequence[int]
    _taken: int  # tokens that the matcher knows, or need not know
    _after: tuple[int, ...] = ()  # tokens that have to come before it begins
    _seen: list[int] = attrs.field(init=False, factory=list[int])  # while they have not

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        new = tokens[self._taken :]
        self._taken = tokens.shape[0]
        if new.size:
            mx.async_eval(new)  # type: ignore[no-untyped-call]  # mlx does not type it
            # After the token, which else would wait for it.
            mx.async_eval(logits)  # type: ignore[no-untyped-call]
            self._take(self._begun(_ids(new)))
        if self._after:
            return logits
        return mx.where(mx.array(self._allowed(logits.shape[-1])), logits, -float("inf"))

    def _begun(self, tokens: list[int]) -> list[int]:
        """Return what of the new *tokens* the matcher has to take."""
        while self._after and tokens:
            self._seen = [*self._seen[1 - len(self._after) :], tokens.pop(0)]
            if tuple(self._seen[-len(self._after) :]) == self._after:
                self._after = ()
        return tokens

    def _take(self, tokens: list[int]) -> None:
        matcher = self._matcher
        # After the end mlx-lm still computes one token ahead, which nobody gets.
        if not matcher.is_stopped() and matcher.try_consume_tokens(tokens) < len(tokens):
            raise GrammarFailed("the model drew a token that the grammar forbids")

    def _allowed(self, vocab: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        matcher = self._matcher
        if matcher.is_error():
            raise GrammarFailed(matcher.get_error()[:REASON_CHARS])
        if matcher.is_stopped():
            allowed = np.zeros((1, vocab), dtype=np.bool_)
            allowed[0, list(self._ends)] = True
            return allowed
        bits = llguidance.numpy.allocate_token_bitmask(1, vocab)
        llguidance.numpy.fill_next_token_bitmask(matcher, bits, 0)
        flags = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
        return flags[:, :vocab].astype(np.bool_)


class Grammars:
    """Compiles for one model. Used by one thread."""

    def __init__(self, tokenizer: Any, ends: Sequence[int], vocab: int) -> None:  # noqa: ANN401
        """*tokenizer* is mlx-lm's, which is untyped; *vocab* the length of a row of logits."""
        self._hf = tokenizer._tokenizer
        self._ends = ends
        self._vocab = vocab
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[tuple[str, str], Compiled] = OrderedDict()

    def compile(self, grammar: Grammar) -> Compiled:
        """Return *grammar* compiled. The first one of a model takes half a second longer.

        Raises:
            GrammarProblem: it is wrong, too complex, or not possible with this model.
        """
        key = grammar.kind, grammar.text
        if kept := self._kept.get(key):
            self._kept.move_to_end(key)
            return kept
        matcher = LLMatcher(self._read_tokenizer(), _source(grammar), log_level=0)
        if matcher.is_error():
            raise GrammarProblem(_on_one_line(matcher.get_error()))
        compiled = self._kept[key] = Compiled(matcher, self._ends)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return compiled

    def _read_tokenizer(self) -> LLTokenizer:
        if self._tokenizer is None:
            if not self._ends:
                raise GrammarProblem("this model has no end-of-sequence token")
            try:
                self._tokenizer = llguidance.hf.from_tokenizer(
                    self._hf, n_vocab=self._vocab, eos_token=list(self._ends)
                )
            except Exception as error:  # a foreign tokenizer of a kind it does not know
                reason = _on_one_line(str(error))
                raise GrammarProblem(f"not possible with this model: {reason}") from error
        return self._tokenizer


def _source(grammar: Grammar) -> str:
    """Return *grammar* in llguidance's own language."""
    try:
        match grammar.kind:
            case "json_schema":
                # The defaults of its separators allow no space beside the white space above.
                return LLMatcher.grammar_from_json_schema(
                    grammar.text,
                    overrides={"whitespace_flexible": True, "whitespace_pattern": WHITESPACE},
                )
            case "regex":
                return LLMatcher.grammar_from_regex(grammar.text)
            case "choice":
                choices = json.loads(grammar.text)
                if not choices:
                    raise GrammarProblem("there is nothing to choose from")
                texts = [json.dumps(each, ensure_ascii=False) for each in choices]
                return LLMatcher.grammar_from_lark("start: " + " | ".join(texts))
            case "grammar":
                return grammar_from("grammar", grammar.text)
            case "calls":
                return LLMatcher.grammar_from_lark(grammar.text)
            case _:
                raise GrammarProblem(f"{grammar.kind!r} is no kind of grammar")
    except ValueError as error:
        raise GrammarProblem(_on_one_line(str(error))) from error


def _ids(tokens: mx.array) -> list[int]:
    ids: list[int] = tokens.tolist()  # type: ignore[assignment]  # of one dimension
    return ids


def _on_one_line(text: str) -> str:
    return " ".join(text.split())[:REASON_CHARS]
