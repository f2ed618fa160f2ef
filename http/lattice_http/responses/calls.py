"""How calls of the chat are told in Responses: each kind has its item and its events. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from lattice_actors.generation import CallPiece

from .callees import Callee
from .free_text import FreeText


class Call(Protocol):
    """A call in the making."""

    @property
    def kind(self) -> str:
        """The type of its item."""

    @property
    def event(self) -> str:
        """What its events begin with; "": it has none of its own."""

    def begun(self) -> dict[str, Any]:
        """Return the fields of its item at first."""

    def read(self, arguments: str) -> str:
        """Take the next piece of the arguments; return what is to be told of it."""

    def rest(self, *, cut: bool) -> str:
        """Return what else is to be told, now that they are over; *cut*: before their end."""

    def ended(self, text: str) -> dict[str, Any]:
        """Return the fields that all that was told makes."""

    def done(self, text: str) -> dict[str, Any]:
        """Return the fields of its last event."""


@attrs.define
class FunctionCall:
    """Arguments are told as they are."""

    callee: Callee
    call_id: str
    kind: str = "function_call"
    event: str = "function_call_arguments"

    def begun(self) -> dict[str, Any]:
        return {**_named(self.callee, self.call_id), "arguments": ""}

    def read(self, arguments: str) -> str:
        return arguments

    def rest(self, *, cut: bool) -> str:
        return ""

    def ended(self, text: str) -> dict[str, Any]:
        return {"arguments": text}

    def done(self, text: str) -> dict[str, Any]:
        return {"name": self.callee.name, "arguments": text}


@attrs.define
class CustomCall:
    """Told is the free text in the arguments."""

    callee: Callee
    call_id: str
    kind: str = "custom_tool_call"
    event: str = "custom_tool_call_input"
    _text: FreeText = attrs.field(factory=FreeText)

    def begun(self) -> dict[str, Any]:
        return {**_named(self.callee, self.call_id), "input": ""}

    def read(self, arguments: str) -> str:
        return self._text.read(arguments)

    def rest(self, *, cut: bool) -> str:
        return self._text.rest(cut=cut)

    def ended(self, text: str) -> dict[str, Any]:
        return {"input": text}

    def done(self, text: str) -> dict[str, Any]:
        return {"input": text}


@attrs.define
class SearchCall:
    """A search for tools: its arguments are an object, and told when it is whole."""

    callee: Callee
    call_id: str
    kind: str = "tool_search_call"
    event: str = ""

    def begun(self) -> dict[str, Any]:
        return {"call_id": self.call_id, "execution": "client", "arguments": {}}

    def read(self, arguments: str) -> str:
        return arguments

    def rest(self, *, cut: bool) -> str:
        return ""

    def ended(self, text: str) -> dict[str, Any]:
        try:
            arguments = json.loads(text)
        except (ValueError, RecursionError):
            arguments = None
        return {"arguments": arguments if isinstance(arguments, dict) else {}}

    def done(self, text: str) -> dict[str, Any]:
        return {}


_KINDS: dict[str, Callable[[Callee, str], Call]] = {
    "function": FunctionCall,
    "custom": CustomCall,
    "tool_search": SearchCall,
}


def call_of(callee: Callee, first: CallPiece) -> Call:
    """Return the call that begins with this piece."""
    return _KINDS[callee.kind](callee, first.id)


def _named(callee: Callee, call_id: str) -> dict[str, Any]:
    named = {"call_id": call_id, "name": callee.name}
    return {**named, "namespace": callee.namespace} if callee.namespace else named
