"""The content blocks of Anthropic's messages, and the turns that chat templates read of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta

from lattice_actors.generation import JsonObject
from lattice_http.openai.bodies import unsupported, wrong


class TextBlock(msgspec.Struct, tag="text", frozen=True, gc=False):
    text: str


class ImageBlock(msgspec.Struct, tag="image", frozen=True, gc=False):
    source: dict[str, Any]


class DocumentBlock(msgspec.Struct, tag="document", frozen=True, gc=False):
    source: dict[str, Any]


class ToolUseBlock(msgspec.Struct, tag="tool_use", frozen=True, gc=False):
    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, tag="tool_result", frozen=True, gc=False):
    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(msgspec.Struct, tag="thinking", frozen=True, gc=False):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(msgspec.Struct, tag="redacted_thinking", frozen=True, gc=False):
    data: str = ""


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ToolUseBlock
    | ToolResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
)


class Message(msgspec.Struct, frozen=True, gc=False):
    role: Literal["user", "assistant", "system"]  # system: newer clients, in the middle
    content: str | Annotated[list[Block], Meta(min_length=1)]


@attrs.frozen
class Conversation:
    """Turns as chat templates take them: ``content`` is a string."""

    turns: tuple[JsonObject, ...]
    source: tuple[JsonObject, ...]  # the same for servers that take images: OpenAI's parts
    text_bytes: int  # UTF-8 of all contents
    image_param: str | None = None  # the first image, "messages[0].content[1]"


def conversation(system: str, messages: Sequence[Message]) -> Conversation:
    """Return what is asked. Raises BadRequest for blocks where they cannot be."""
    turns: list[dict[str, Any]] = []
    source: list[dict[str, Any]] = []
    image: str | None = None
    if system:
        turns.append({"role": "system", "content": system})
        source.append(turns[-1])
    for index, message in enumerate(messages):
        where = f"messages[{index}].content"
        if isinstance(message.content, str):
            turns.append({"role": message.role, "content": message.content})
            source.append(turns[-1])
            continue
        read = _Blocks(message.role, where)
        for position, block in enumerate(message.content):
            read.add(block, position)
        image = image or read.image_param
        for turn, sent in read.turns():
            turns.append(turn)
            source.append(sent)
    size = sum(len(turn["content"].encode()) for turn in turns)
    return Conversation(tuple(turns), tuple(source), size, image)


@attrs.define
class _Blocks:
    """The blocks of one message, becoming one turn and a turn for each tool result."""

    role: str
    where: str
    image_param: str | None = None
    _texts: list[str] = attrs.field(init=False, factory=list[str])
    _parts: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])
    _calls: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])
    _thoughts: list[str] = attrs.field(init=False, factory=list[str])
    _results: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])

    def add(self, block: Block, position: int) -> None:
        where = f"{self.where}[{position}]"
        match block:
            case TextBlock(text):
                self._texts.append(text)
                self._parts.append({"type": "text", "text": text})
            case ImageBlock(source):
                self._of("user", where, "an image")
                self._add_image(source, where)
            case DocumentBlock(source):
                self._of("user", where, "a document")
                text = _document(source, where)
                self._texts.append(text)
                self._parts.append({"type": "text", "text": text})
            case ToolUseBlock(id=call_id, name=name, input=arguments):
                self._of("assistant", where, "a tool_use")
                function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
                self._calls.append({"id": call_id, "type": "function", "function": function})
            case ToolResultBlock():
                self._of("user", where, "a tool_result")
                self._add_result(block, where)
            case ThinkingBlock(thinking=thinking):
                self._of("assistant", where, "thinking")
                self._thoughts.append(thinking)
            case RedactedThinkingBlock():
                self._of("assistant", where, "thinking")  # nobody here can read it

    def turns(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return each turn in both forms. What tools said comes before what the user says."""
        turns = [(result, result) for result in self._results]
        if not (self._texts or self._parts or self._calls or self._thoughts) and turns:
            return turns
        turn: dict[str, Any] = {"role": self.role, "content": "\n".join(self._texts)}
        if self._calls:
            turn["tool_calls"] = self._calls
        if self._thoughts:
            turn["reasoning_content"] = "\n".join(self._thoughts)
        with_images = any(part["type"] != "text" for part in self._parts)
        sent = {**turn, "content": self._parts} if with_images else turn
        return [*turns, (turn, sent)]

    def _add_image(self, source: dict[str, Any], where: str) -> None:
        self.image_param = self.image_param or where
        match source:
            case {"type": "base64", "media_type": str(media), "data": str(data)}:
                url = f"data:{media};base64,{data}"
            case {"type": "url", "url": str(url)}:
                pass
            case _:
                raise wrong(f"{where}.source", "expected a base64 or a url source")
        self._parts.append({"type": "image_url", "image_url": {"url": url}})

    def _add_result(self, block: ToolResultBlock, where: str) -> None:
        if isinstance(block.content, str):
            text = block.content
        else:
            texts = []
            for position, part in enumerate(block.content or ()):
                inner = f"{where}.content[{position}]"
                if isinstance(part, TextBlock):
                    texts.append(part.text)
                elif isinstance(part, DocumentBlock):
                    texts.append(_document(part.source, inner))
                else:
                    raise unsupported(inner, "images in tool results are not supported")
            text = "\n".join(texts)
        if block.is_error:
            text = f"Error: {text}"
        self._results.append({"role": "tool", "content": text, "tool_call_id": block.tool_use_id})

    def _of(self, role: str, where: str, what: str) -> None:
        if self.role != role:
            raise wrong(where, f"{what} is only for a message of the {role}")


def _document(source: dict[str, Any], where: str) -> str:
    match source:
        case {"type": "text", "data": str(text)}:
            return text
        case _:
            raise unsupported(f"{where}.source", "only documents of plain text are supported")


def system_text(system: str | list[TextBlock] | None) -> str:
    """Return the system prompt as one text."""
    match system:
        case str():
            return system
        case list():
            return "\n".join(block.text for block in system)
        case _:
            return ""
