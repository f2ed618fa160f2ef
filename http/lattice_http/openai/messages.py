"""The messages of a chat, checked and brought into the form templates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta

from lattice_actors.generation import JsonObject

from .bodies import wrong


class TextPart(msgspec.Struct, tag="text", frozen=True, gc=False):
    text: str


class RefusalPart(msgspec.Struct, tag="refusal", frozen=True, gc=False):
    """An assistant's refusal, sent back as history."""

    refusal: str


class ImageUrl(msgspec.Struct, frozen=True, gc=False):
    url: str


class ImagePart(msgspec.Struct, tag="image_url", frozen=True, gc=False):
    image_url: ImageUrl | str


class Function(msgspec.Struct, frozen=True, gc=False):
    name: str
    arguments: str  # JSON, as the model wrote it


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    function: Function
    id: str | None = None
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        str | Annotated[list[TextPart | ImagePart | RefusalPart], Meta(min_length=1)] | None
    ) = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same under its other name


@attrs.frozen
class Turns:
    """Messages for a model's chat template.

    ``content`` is always a string (the text parts, one a line; ``""`` where there was none),
    ``developer`` is ``system``, ``function`` is ``tool``, and keys that have no value are left
    out.
    """

    messages: tuple[JsonObject, ...]
    text_bytes: int  # of all contents, in UTF-8
    image_param: str | None  # the first image, "messages[0].content[1]"


def read_turns(sent: Sequence[Message]) -> Turns:
    """Return what templates are given. Raises BadRequest."""
    messages: list[JsonObject] = []
    size = 0
    image: str | None = None
    for index, message in enumerate(sent):
        content = message.content
        if type(content) is not str:
            content, position = _flatten(message, index)
            if image is None and position is not None:
                image = f"messages[{index}].content[{position}]"
        size += len(content) if content.isascii() else len(content.encode())
        messages.append(_turn(message, content))
    return Turns(tuple(messages), size, image)


def _flatten(message: Message, index: int) -> tuple[str, int | None]:
    """Return the text of a content that is no string, and the place of its first image."""
    if message.content is None:
        if message.role == "assistant" and (message.tool_calls or message.function_call):
            return "", None  # templates add to it, and None cannot be added to
        raise wrong(f"messages[{index}].content", "expected a string or a list of parts")
    assert not isinstance(message.content, str)
    texts: list[str] = []
    image: int | None = None
    for position, part in enumerate(message.content):  # no match: it takes twice as long here
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, RefusalPart):
            texts.append(part.refusal)
        elif image is None:
            image = position
    return "\n".join(texts), image


def _turn(message: Message, content: str) -> JsonObject:
    role: str = message.role
    if role == "developer":
        role = "system"
    elif role == "function":
        role = "tool"
    turn: dict[str, Any] = {"role": role, "content": content}
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_calls:
        turn["tool_calls"] = [_call(call) for call in message.tool_calls]
    elif message.function_call is not None:  # how tools were called before there were tools
        turn["tool_calls"] = [_call(ToolCall(message.function_call))]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    reasoning = message.reasoning_content or message.reasoning
    if reasoning is not None:
        turn["reasoning_content"] = reasoning
    return turn


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    known = {} if call.id is None else {"id": call.id}
    return {**known, "type": "function", "function": function}
