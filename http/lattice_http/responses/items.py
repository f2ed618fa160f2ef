"""The input items of a response, and the turns that chat templates read of them.

One assistant turn is made of all that the assistant said in a row: its reasoning, its text and
its calls, whatever the number of items.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import JsonObject
from lattice_http.openai.bodies import decode_part, fields_of, unsupported, wrong

MAX_ITEMS = 10_000  # of a conversation; each costs some 5 µs


class Text(msgspec.Struct, tag="input_text", frozen=True, gc=False):
    text: str


class OutputText(msgspec.Struct, tag="output_text", frozen=True, gc=False):
    text: str


class RefusalPart(msgspec.Struct, tag="refusal", frozen=True, gc=False):
    refusal: str


class Image(msgspec.Struct, tag="input_image", frozen=True, gc=False):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class File(msgspec.Struct, tag="input_file", frozen=True, gc=False):
    """Refused by name."""


Part = Text | OutputText | RefusalPart | Image | File
Parts = Annotated[list[Part], Meta(min_length=1)]


class MessageItem(msgspec.Struct, frozen=True, gc=False):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts


class CallItem(msgspec.Struct, frozen=True, gc=False):
    call_id: str
    name: str
    arguments: str  # JSON


class ResultItem(msgspec.Struct, frozen=True, gc=False):
    call_id: str
    output: str | Parts


class Thought(msgspec.Struct, frozen=True, gc=False):
    text: str


class ReasoningItem(msgspec.Struct, frozen=True, gc=False):
    summary: list[Thought] | None = None
    content: list[Thought] | None = None


class _Kind(msgspec.Struct, frozen=True, gc=False):
    type: str | None = None
    id: str | None = None


_ITEMS: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
_KIND = msgspec.json.Decoder(_Kind)
_MESSAGE = msgspec.json.Decoder(MessageItem)
_CALL = msgspec.json.Decoder(CallItem)
_RESULT = msgspec.json.Decoder(ResultItem)
_REASONING = msgspec.json.Decoder(ReasoningItem)

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}


@attrs.frozen
class Item:
    """One item of a conversation, as it is kept: with a type and an id."""

    json: bytes = attrs.field(repr=False)
    where: str  # in the body, for blame


def new_id(kind: str) -> str:
    """Return an id for an item of this kind, ``msg_<hex>``."""
    return f"{_PREFIXES[kind]}_{uuid.uuid4().hex}"


def read_input(raw: Raw) -> list[Item]:
    """Return the items of a body's ``input``. Raises BadRequest."""
    if _is_text(raw):
        decode_part(raw, _TEXT, "input")
        return [_item({"role": Raw(b'"user"'), "content": raw}, "message", None, "input")]
    given = decode_part(raw, _ITEMS, "input")
    if not given:
        raise wrong("input", "expected a text or at least one item")
    if len(given) > MAX_ITEMS:
        raise wrong("input", f"more than {MAX_ITEMS} items")
    return [_read(one, f"input[{index}]") for index, one in enumerate(given)]


def _read(raw: Raw, where: str) -> Item:
    kind = decode_part(raw, _KIND, where)
    name = kind.type or "message"
    if name not in _PREFIXES:
        raise unsupported(f"{where}.type", f"items of type {name[:64]!r} are not supported here")
    return _item(fields_of(raw, where), name, kind.id, where)


def _item(fields: dict[str, Raw], kind: str, item_id: str | None, where: str) -> Item:
    """Add what a kept item has; the values stay as they were sent."""
    kept: dict[str, Any] = {**fields, "type": kind, "id": item_id or new_id(kind)}
    content = fields.get("content")
    if kind == "message" and content is not None and _is_text(content):
        role = fields.get("role")
        spoken = role is not None and bytes(role) == b'"assistant"'
        kept["content"] = [{"type": "output_text" if spoken else "input_text", "text": content}]
    return Item(msgspec.json.encode(kept), where)


def _is_text(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b'"'


@attrs.define
class Conversation:
    """Turns as chat templates take them: ``content`` is a string."""

    turns: list[JsonObject] = attrs.field(factory=list[JsonObject])
    source: list[JsonObject] = attrs.field(factory=list[JsonObject])  # with images, OpenAI's parts
    image_param: str | None = None  # the first image, "input[0].content[1]"
    _spoken: dict[str, Any] | None = attrs.field(init=False, default=None)  # the assistant's, open

    @classmethod
    def of(cls, instructions: str | None, items: Sequence[Item]) -> Conversation:
        """Return what is asked. Raises BadRequest."""
        said = cls()
        if instructions:
            said._turn({"role": "system", "content": instructions})
        for item in items:
            match decode_part(item.json, _KIND, item.where).type:
                case "function_call":
                    said._add_call(item)
                case "function_call_output":
                    said._add_result(item)
                case "reasoning":
                    said._add_reasoning(item)
                case _:
                    said._add_message(item)
        return said

    @property
    def text_bytes(self) -> int:
        """UTF-8 of all contents."""
        return sum(len(str(turn["content"]).encode(errors="replace")) for turn in self.turns)

    def _add_message(self, item: Item) -> None:
        message = decode_part(item.json, _MESSAGE, item.where)
        text, parts = self._content(message.content, f"{item.where}.content")
        if message.role == "assistant":
            if parts is not None:
                raise wrong(f"{item.where}.content", "an image is only for a message of the user")
            self._fresh()["content"] = text
            return
        role = "system" if message.role == "developer" else message.role
        turn = {"role": role, "content": text}
        self._turn(turn, turn if parts is None else {**turn, "content": parts})

    def _add_call(self, item: Item) -> None:
        call = decode_part(item.json, _CALL, item.where)
        turn = self._spoken if self._spoken is not None else self._open()
        function = {"name": call.name, "arguments": call.arguments}
        told = {"id": call.call_id, "type": "function", "function": function}
        turn.setdefault("tool_calls", []).append(told)

    def _add_result(self, item: Item) -> None:
        result = decode_part(item.json, _RESULT, item.where)
        where = f"{item.where}.output"
        text, parts = self._content(result.output, where)
        if parts is not None:
            raise unsupported(where, "images in the output of a function are not supported")
        self._turn({"role": "tool", "content": text, "tool_call_id": result.call_id})

    def _add_reasoning(self, item: Item) -> None:
        reasoning = decode_part(item.json, _REASONING, item.where)
        thoughts = reasoning.content or reasoning.summary or []
        if not thoughts:
            return  # encrypted, or nothing: nobody here can read it
        turn = self._fresh()
        before = [turn["reasoning_content"]] if "reasoning_content" in turn else []
        told = "\n".join([*before, *(thought.text for thought in thoughts)])
        turn["reasoning_content"] = told

    def _fresh(self) -> dict[str, Any]:
        """The open turn where it has said nothing aloud yet, or a new one."""
        turn = self._spoken
        return self._open() if turn is None or turn["content"] or "tool_calls" in turn else turn

    def _open(self) -> dict[str, Any]:
        turn: dict[str, Any] = {"role": "assistant", "content": ""}
        self._turn(turn)
        self._spoken = turn
        return turn

    def _turn(self, turn: dict[str, Any], sent: dict[str, Any] | None = None) -> None:
        self._spoken = None
        self.turns.append(turn)
        self.source.append(turn if sent is None else sent)

    def _content(
        self, content: str | list[Part], where: str
    ) -> tuple[str, list[dict[str, Any]] | None]:
        """Return the text, and the parts in the form of chats where there is an image."""
        if isinstance(content, str):
            return content, None
        texts: list[str] = []
        parts: list[dict[str, Any]] = []
        image: str | None = None
        for position, part in enumerate(content):
            inner = f"{where}[{position}]"
            match part:
                case Image(image_url=str(url)):
                    image = image or inner
                    parts.append({"type": "image_url", "image_url": {"url": url}})
                    continue
                case Image():
                    raise unsupported(inner, "only images with an image_url are supported")
                case File():
                    raise unsupported(inner, "files are not supported")
                case RefusalPart(text) | Text(text) | OutputText(text):
                    texts.append(text)
                    parts.append({"type": "text", "text": text})
        self.image_param = self.image_param or image
        return "\n".join(texts), None if image is None else parts
