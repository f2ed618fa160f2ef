"""How one model is spoken to of tools and reasoning, and how its answers are read.

Imports no mlx. A request with tools goes one of two ways:

- *own*: the model's template takes tools and mlx-lm reads its calls (`call_formats.own_format`);
- *told*: the tools are described in the system message, and calls have the form of `HERMES`.

A model without tools in its template is always told. One that has them is told as well where a
grammar holds the answer to its tools and its own format is not that of `HERMES`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs

from .call_formats import (
    HERMES,
    ToolTokenizer,
    instructions,
    kind_of,
    own_format,
    told_in_text,
    with_instructions,
)
from .call_grammar import grammar_of_calls
from .frames import Gen, Grammar
from .parts import Reading

Turn = Mapping[str, Any]
NO_EFFORT = "none"


class SpokenTokenizer(ToolTokenizer, Protocol):
    """What we use of mlx-lm's `TokenizerWrapper` here."""

    @property
    def has_thinking(self) -> bool: ...

    @property
    def think_start(self) -> str | None: ...

    @property
    def think_end(self) -> str | None: ...

    @property
    def think_end_tokens(self) -> tuple[int, ...] | None: ...

    @property
    def structural_markers(self) -> Sequence[str]: ...

    @property
    def chat_template(self) -> object: ...

    @property
    def all_special_tokens(self) -> Sequence[str]: ...

    def convert_tokens_to_ids(self, token: str, /) -> int | None: ...

    def decode(self, tokens: Sequence[int], /) -> str: ...


class SpeechProblem(Exception):
    """The model cannot do what is asked; the text is for the client."""

    def __init__(self, text: str, param: str) -> None:
        super().__init__(text)
        self.param = param


@attrs.frozen(eq=False)
class Speech:
    """One model's."""

    _tokenizer: SpokenTokenizer

    def check(self, gen: Gen) -> None:
        """Refuse what would have no effect. Raises SpeechProblem."""
        effort = gen.template_options.get("reasoning_effort", NO_EFFORT)
        if effort == NO_EFFORT or self._tokenizer.has_thinking:
            return
        if "reasoning_effort" not in str(self._tokenizer.chat_template):
            raise SpeechProblem("this model does not reason", "reasoning_effort")

    @property
    def end_of_reasoning(self) -> tuple[int, ...]:
        """The tokens that end it."""
        return tuple(self._tokenizer.think_end_tokens or ())

    def reading(self, gen: Gen, prompt: Sequence[int]) -> Reading | None:
        """Return how the answer to *prompt* is to be read; None: it is text."""
        tokenizer = self._tokenizer
        calls = None
        if _may_call(gen):
            calls = HERMES if self._told(gen) else own_format(tokenizer, gen.tools)
        think = None
        if tokenizer.think_start and tokenizer.think_end:
            think = (tokenizer.think_start, tokenizer.think_end)
        if think is None and calls is None:
            return None
        # One token of white space may follow. What a user wrote never ends a prompt.
        ended = tokenizer.decode(list(prompt[-8:])).rstrip() if think else ""
        return Reading(
            think,
            calls,
            thinking=think is not None and ended.endswith(think[0]),
            single=_single(gen),
            swallowed=tuple(tokenizer.structural_markers),
        )

    def shows_tools(self, gen: Gen) -> bool:
        """The template gets the tools."""
        return _may_call(gen) and not self._told(gen)

    def grammar(self, gen: Gen) -> Grammar | None:
        """Return what the answer is held to, its tools included.

        Raises:
            SpeechProblem: tools and a grammar that do not go together.
        """
        if not _held(gen):
            return gen.grammar
        must = gen.tool_choice == "required"
        tools = gen.tools
        if must and gen.tool_name:
            tools = [tool for tool in tools if tool["function"]["name"] == gen.tool_name]
        try:
            text = grammar_of_calls(
                tools,
                must=must,
                many=must and not _single(gen),
                strict_only=not must,
                answer=None if must else gen.grammar,  # it is for text, and there is none
                term=self._term,
            )
        except ValueError:
            assert gen.grammar is not None
            raise SpeechProblem(
                "not possible together with tools that the model may call", gen.grammar.param
            ) from None
        return Grammar("calls", text, "tools")

    def turns(self, gen: Gen, messages: Sequence[Turn]) -> Iterator[list[dict[str, Any]]]:
        """Yield the messages as the template may take them, the likeliest form first."""
        # Templates join strings: None, as beside tool calls, would raise or read as "None".
        plain = [
            dict(m) | {"content": ""} if m.get("content") is None else dict(m) for m in messages
        ]
        if self._told(gen):
            plain = told_in_text(plain)
            if not _may_call(gen):
                yield plain
                return
            must = gen.tool_name if gen.tool_choice == "required" else None
            text = instructions(gen.tools, must)
            yield with_instructions(plain, text)
            yield with_instructions(plain, text, as_user=True)  # some know no system message
            return
        if kind_of(self._tokenizer) == "mistral":
            plain = [_with_short_ids(turn) for turn in plain]
        yield [_with_objects(turn) for turn in plain]
        if any(turn.get("tool_calls") for turn in plain):
            yield plain  # with arguments as text

    def _told(self, gen: Gen) -> bool:
        kind = kind_of(self._tokenizer)
        return not kind or (kind != "json_tools" and _held(gen))

    def _term(self, marker: str) -> str:
        # To a grammar a special token is none of its letters.
        if marker in self._tokenizer.all_special_tokens:
            return f"<[{self._tokenizer.convert_tokens_to_ids(marker)}]>"
        return json.dumps(marker)


def _may_call(gen: Gen) -> bool:
    return bool(gen.tools) and gen.tool_choice != "none"


def _held(gen: Gen) -> bool:
    """A grammar is needed for its calls."""
    if not _may_call(gen):
        return False
    if gen.tool_choice == "required" or gen.grammar is not None:
        return True
    return any(tool["function"].get("strict") for tool in gen.tools)


def _single(gen: Gen) -> bool:
    """The answer ends with its first call. One that has to call does, unless told otherwise."""
    if gen.tool_choice == "required":
        return bool(gen.tool_name) or gen.parallel is not True
    return gen.parallel is False


def _with_objects(turn: Turn) -> dict[str, Any]:
    """Return *turn* with arguments as objects, as templates write them with `tojson`."""
    if not turn.get("tool_calls"):
        return dict(turn)
    calls = []
    for call in turn["tool_calls"]:
        function = dict(call["function"])
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except (TypeError, ValueError, RecursionError):
            arguments = None
        if isinstance(arguments, dict):
            function["arguments"] = arguments
        calls.append({**call, "function": function})
    return {**turn, "tool_calls": calls}


def _with_short_ids(turn: Turn) -> dict[str, Any]:
    """Return *turn* with ids of nine letters, as the templates of Mistral insist on."""
    new = dict(turn)
    if new.get("tool_call_id"):
        new["tool_call_id"] = _nine(new["tool_call_id"])
    if new.get("tool_calls"):
        new["tool_calls"] = [{**c, "id": _nine(c.get("id") or "")} for c in new["tool_calls"]]
    return new


def _nine(call_id: str) -> str:
    if len(call_id) == 9 and call_id.isalnum() and call_id.isascii():
        return call_id
    return hashlib.sha256(call_id.encode(errors="replace")).hexdigest()[:9]
