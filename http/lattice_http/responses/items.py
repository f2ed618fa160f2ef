"""The input items of a response, each checked for what kind it is, and as it is kept."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta, Raw

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
    namespace: str | None = None


class CustomCallItem(msgspec.Struct, frozen=True, gc=False):
    call_id: str
    name: str
    input: str
    namespace: str | None = None


class SearchCallItem(msgspec.Struct, frozen=True, gc=False):
    call_id: str
    arguments: dict[str, Raw]


class ResultItem(msgspec.Struct, frozen=True, gc=False):
    call_id: str
    output: str | Parts


class CustomResultItem(ResultItem, frozen=True, gc=False):
    """The same of a custom tool."""


class FoundItem(msgspec.Struct, frozen=True, gc=False):
    """The result of a search for tools: they can be called from now on."""

    call_id: str
    tools: Raw


class MoreToolsItem(msgspec.Struct, frozen=True, gc=False):
    """Tools beside those of the body."""

    tools: Raw


class EncryptedText(msgspec.Struct, tag="encrypted_content", frozen=True, gc=False):
    """Nobody here encrypts anything: it is the text that a model here wrote."""

    encrypted_content: str


class AgentMessageItem(msgspec.Struct, frozen=True, gc=False):
    """What another agent tells this one. It says itself who that is."""

    content: Annotated[list[Text | EncryptedText], Meta(min_length=1)]


class Thought(msgspec.Struct, frozen=True, gc=False):
    text: str


class ReasoningItem(msgspec.Struct, frozen=True, gc=False):
    summary: list[Thought] | None = None
    content: list[Thought] | None = None


class Kind(msgspec.Struct, frozen=True, gc=False):
    """What every item may have."""

    type: str | None = None
    id: str | None = None


_ITEMS: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
KIND = msgspec.json.Decoder(Kind)

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "tool_search_call": "tsc",
    "tool_search_output": "tso",
    "additional_tools": "at",
    "agent_message": "amsg",
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
    kind = decode_part(raw, KIND, where)
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
