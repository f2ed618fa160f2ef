"""The output items of a response in the making, and the events that tell of them.

Items come one after the other, each begun and ended:

    reasoning      output_item.added, content_part.added, reasoning_text.delta..., .done,
                   content_part.done, output_item.done; as a summary: reasoning_summary_part
                   and reasoning_summary_text in their place
    message        output_item.added, content_part.added, output_text.delta..., .done,
                   content_part.done, output_item.done
    function_call  output_item.added, function_call_arguments.delta..., .done, output_item.done
    custom_tool_call  the same with custom_tool_call_input
    tool_search_call  output_item.added, output_item.done
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from lattice_actors.generation import CallPiece, Delta

from .callees import Callee, Callees
from .calls import Call, call_of
from .items import new_id

_WITH_PARTS = ("message", "reasoning")

Event = tuple[str, dict[str, Any]]  # its type, without "response.", and its fields


@attrs.define
class Output:
    """All items so far; the newest may still be open."""

    summary: bool = False  # reasoning is told as its summary
    callees: Callees = attrs.field(factory=dict[str, Callee])
    items: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    _texts: list[str] = attrs.field(init=False, factory=list[str])  # of the open item
    _open: str = attrs.field(init=False, default="")  # its type; "": none is open
    _call: Call | None = attrs.field(init=False, default=None)  # the open one
    _index: int = attrs.field(init=False, default=-1)  # of it, among the calls of the answer

    def add(self, delta: Delta) -> Iterator[Event]:
        """Take the next piece of the answer; yield what is to be told of it."""
        if delta.reasoning:
            if self._open != "reasoning":
                yield from self._begin("reasoning", self._reasoning(""))
            yield from self._more(delta.reasoning)
        if delta.text:
            if self._open != "message":
                empty = {"role": "assistant", "content": []}
                yield from self._begin("message", empty)
            yield from self._more(delta.text)
        for piece in delta.calls:
            yield from self._add_call(piece)

    def end(self, *, cut: bool = False) -> Iterator[Event]:
        """End the open item; *cut*: the model had not."""
        if not self._open:
            return
        if self._call is not None and (rest := self._call.rest(cut=cut)):
            yield from self._more(rest)
        kind, self._open = self._open, ""
        call, self._call = self._call, None
        item, text = self.items[-1], "".join(self._texts)
        self._texts.clear()
        item["status"] = "incomplete" if cut else "completed"
        at = {"item_id": item["id"], "output_index": len(self.items) - 1}
        if call is not None:
            item |= call.ended(text)
            if call.event:
                yield f"{call.event}.done", {**at, **call.done(text)}
        else:
            name, told, where = self._place(kind)
            item |= self._reasoning(text) if kind == "reasoning" else {"content": [_said(text)]}
            part = (item["summary"] or item["content"])[0] if kind == "reasoning" else _said(text)
            yield f"{told}.done", {**at, **where, "text": text, **_logprobs(kind)}
            yield f"{name}.done", {**at, **where, "part": part}
        yield "output_item.done", {"output_index": at["output_index"], "item": item}

    def _add_call(self, piece: CallPiece) -> Iterator[Event]:
        if self._call is None or self._index != piece.index:
            # A model may call what there is not: that is the caller's to refuse.
            call = call_of(self.callees.get(piece.name) or Callee(piece.name), piece)
            yield from self._begin(call.kind, call.begun())
            self._call, self._index = call, piece.index
        if text := self._call.read(piece.arguments):
            yield from self._more(text)

    def _begin(self, kind: str, fields: dict[str, Any]) -> Iterator[Event]:
        yield from self.end()
        self._open = kind
        item = {"type": kind, "id": new_id(kind), "status": "in_progress", **fields}
        self.items.append(item)
        index = len(self.items) - 1
        shown = {**item, "content": []} if "content" in item else dict(item)
        if kind == "reasoning":
            shown["summary"] = []
        yield "output_item.added", {"output_index": index, "item": shown}
        if kind in _WITH_PARTS:
            name, _, where = self._place(kind)
            part = _said("")
            if kind == "reasoning":
                part = {"type": "summary_text" if self.summary else "reasoning_text", "text": ""}
            at = {"item_id": item["id"], "output_index": index}
            yield f"{name}.added", {**at, **where, "part": part}

    def _more(self, text: str) -> Iterator[Event]:
        self._texts.append(text)
        at = {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}
        if self._call is not None:
            if self._call.event:
                yield f"{self._call.event}.delta", {**at, "delta": text}
            return
        _, told, where = self._place(self._open)
        yield f"{told}.delta", {**at, **where, "delta": text, **_logprobs(self._open)}

    def _place(self, kind: str) -> tuple[str, str, dict[str, int]]:
        """Return what a part, its text and its number are called."""
        if kind == "message":
            return "content_part", "output_text", {"content_index": 0}
        if self.summary:
            return "reasoning_summary_part", "reasoning_summary_text", {"summary_index": 0}
        return "content_part", "reasoning_text", {"content_index": 0}

    def _reasoning(self, text: str) -> dict[str, Any]:
        if self.summary:
            return {"summary": [{"type": "summary_text", "text": text}], "content": []}
        return {"summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def _said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _logprobs(kind: str) -> dict[str, list[Any]]:
    """Clients expect some of a text; nobody is asked for them."""
    return {"logprobs": []} if kind == "message" else {}
