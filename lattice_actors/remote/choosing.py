"""`guided_choice` at servers of other kinds: how each is asked, and whether it kept to it. Pure.

own      vLLM's own fields, the old one and the one that has replaced it
schema   a JSON object with one property, by `response_format`. An object, because OpenAI and what
         is modelled on it take no other root; the caller gets the bare text all the same
grammar  GBNF, for llama-cpp-python: it has no `json_schema`, and what it does not understand of a
         schema inside of `json_object` it leaves out without a word

A lattice-trio is asked as we are, and keeps to it. Of the others nobody knows: a server that does
not know a field leaves it unread (vLLM since 0.12 its old `guided_choice`). So what comes is
compared with the choices before any of it is handed on (`choice_reader.py`).
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Chat, Job

from . import gbnf

Form: TypeAlias = Literal["own", "schema", "grammar"]

# Tokens for `{"choice": "` and `"}`, whatever the vocabulary: they are not of the answer.
AROUND_TOKENS = 32
SPACE_CHARS = 1024  # white space that a right answer may have beside its text

_FORMS: dict[str, Form] = {"vllm": "own", "alone": "grammar"}  # by kind; all others: schema
_FIELDS: dict[Form, str] = {
    "own": "structured_outputs",
    "schema": "response_format",
    "grammar": "grammar",
}
_START = '{"choice":"'
_BEGUN = re.compile(
    r'\s*\{\s*"choice"\s*:\s*"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*)'
)
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?")


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    choice: str


_ANSWER = msgspec.json.Decoder(_Answer)


@attrs.frozen
class Chosen:
    """What a right answer says."""

    text: str
    whole: bool  # False: it was cut off inside


@attrs.frozen
class Choosing:
    """The choice that one answer is."""

    texts: tuple[str, ...]
    form: Form
    stop: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The field that its server must honour."""
        return _FIELDS[self.form]

    @property
    def fields(self) -> dict[str, Any]:
        """What asks for it."""
        match self.form:
            case "own":
                return {"guided_choice": self.texts, "structured_outputs": {"choice": self.texts}}
            case "grammar":
                return {"grammar": gbnf.one_of(self.texts)}
            case "schema":
                schema = {
                    "type": "object",
                    "properties": {"choice": {"type": "string", "enum": self.texts}},
                    "required": ["choice"],
                    "additionalProperties": False,
                }
                named = {"name": "answer", "schema": schema, "strict": True}
                return {"response_format": {"type": "json_schema", "json_schema": named}}

    @property
    def most_chars(self) -> int:
        """No right answer is longer as it is written."""
        return self._longest + SPACE_CHARS

    @property
    def _longest(self) -> int:
        return max(len(json.dumps(text)) for text in self.texts)  # with all that can be escaped

    def max_tokens(self, asked: int) -> int:
        """Return the ceiling for what is written, where that of the bare text is *asked*."""
        if self.form != "schema" or asked >= self._longest + AROUND_TOKENS:
            return asked
        escapes = max(len(json.dumps(text)) - len(text) for text in self.texts)
        return asked + AROUND_TOKENS + escapes

    def may_begin(self, written: str) -> bool:
        """Whether an answer that begins with *written* can be right; cheap, so not for sure."""
        begun = written.lstrip()
        return self.form != "schema" or not begun or begun[0] == "{"

    def read(self, written: str, *, cut_off: bool) -> Chosen | None:
        """Return what *written* says, or None where it is none of the choices.

        *cut_off*: it ended at `max_tokens`, so the beginning of a choice is right as well.
        """
        chosen = self._unwrapped(written) if self.form == "schema" else self._bare(written)
        if chosen is None or (chosen.whole and self.form != "schema"):
            return chosen
        if chosen.whole:
            return chosen if chosen.text in self.texts else None
        begins = any(text.startswith(chosen.text) for text in self.texts)
        return chosen if cut_off and begins else None

    def stopped(self, text: str) -> tuple[str, str]:
        """Return *text* up to the first stop string in it, and that string or "".

        Only where it is wrapped: its server would look for the strings in the JSON around it.
        """
        found = [(text.find(stop) + len(stop), stop) for stop in self.stop if stop in text]
        if self.form != "schema" or not found:
            return text, ""
        end, stop = min(found)
        return text[: end - len(stop)], stop

    def _bare(self, written: str) -> Chosen:
        whole = written in self.texts or any(
            text.partition(stop)[0] == written
            for stop in self.stop
            for text in self.texts
            if stop in text
        )
        return Chosen(written, whole)

    def _unwrapped(self, written: str) -> Chosen | None:
        try:
            return Chosen(_ANSWER.decode(written).choice, whole=True)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
        begun = _BEGUN.match(written)
        if begun is None:
            started = _START.startswith("".join(written.split()))
            return Chosen("", whole=False) if started else None
        text: str = json.loads(f'"{begun[1]}"')
        rest = written[begun.end() :]
        if rest[:1] == '"':  # only what closes the object is missing
            return Chosen(text, whole=True) if not rest[1:].strip() else None
        if rest and not _HALF_ESCAPE.fullmatch(rest):
            return None
        if "\ud800" <= text[-1:] <= "\udbff":  # the first half of a character
            text = text[:-1]
        return Chosen(text, whole=False)


def choosing_of(job: Job, kind: str) -> Choosing | None:
    """Return the choice to ask a server of this *kind* for, or None where it is none of ours.

    Raises:
        BadRequest: this kind of server cannot do what the job asks for; `param` names the field.
    """
    grammar, prompt = job.grammar, job.prompt
    if grammar is None or grammar.kind != "choice" or kind == "lattice":
        return None
    tools = isinstance(prompt, Chat) and bool(prompt.tools)
    if tools and job.tool_use.choice == "required":
        return None  # it is about the text of an answer, and this one has none
    choosing = Choosing(
        tuple(dict.fromkeys(msgspec.json.decode(grammar.text, type=list[str]))),  # as enum wants
        _FORMS.get(kind, "schema"),
        tuple(job.stop),
    )
    if choosing.form == "schema":
        if not isinstance(prompt, Chat):
            raise _refused(grammar.param, "not for a prompt of tokens; ask with messages")
        if job.logprobs is not None:
            raise _refused("logprobs", f"not together with {grammar.param}: JSON would be counted")
    elif choosing.form == "grammar":
        if tools and job.tool_use.choice == "auto":
            raise _refused(grammar.param, "not together with tools that the model may call")
        if any("\0" in text for text in choosing.texts):
            raise _refused(grammar.param, "a text with a zero character is not possible")
    return choosing


def _refused(param: str, why: str) -> BadRequest:
    message = f"{param} is not possible at the server that would answer: {why}"
    return BadRequest(message, code="unsupported_parameter", param=param)
