"""The turns that chat templates read of a response's items.

One assistant turn is made of all that the assistant said in a row: its reasoning, its text and
its calls, whatever the number of items. System messages in a row are one, too: many templates
know of no second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from lattice_http.json_bytes import encode
from lattice_http.openai.bodies import decode_part, unsupported, wrong

from .callees import INPUT, SEARCH, flat_name
from .items import (
    KIND,
    AgentMessageItem,
    CallItem,
    CustomCallItem,
    File,
    FoundItem,
    Image,
    Item,
    MessageItem,
    MoreToolsItem,
    OutputText,
    Part,
    ReasoningItem,
    RefusalPart,
    ResultItem,
    SearchCallItem,
    Text,
)
from .tools import Toolbox

_MESSAGE = msgspec.json.Decoder(MessageItem)
_CALL = msgspec.json.Decoder(CallItem)
_CUSTOM_CALL = msgspec.json.Decoder(CustomCallItem)
_RESULT = msgspec.json.Decoder(ResultItem)
_SEARCH_CALL = msgspec.json.Decoder(SearchCallItem)
_FOUND = msgspec.json.Decoder(FoundItem)
_MORE_TOOLS = msgspec.json.Decoder(MoreToolsItem)
_AGENT_MESSAGE = msgspec.json.Decoder(AgentMessageItem)
_REASONING = msgspec.json.Decoder(ReasoningItem)


@attrs.define
class Conversation:
    """Turns as chat templates take them: ``content`` is a string."""

    turns: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    # The same with images, in OpenAI's parts.
    source: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    box: Toolbox = attrs.field(factory=Toolbox)  # gets the tools that are found in the items
    image_param: str | None = None  # the first image, "input[0].content[1]"
    _spoken: dict[str, Any] | None = attrs.field(init=False, default=None)  # the assistant's, open
    _seen: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])  # images
    _ordered: list[str] = attrs.field(init=False, factory=list[str])  # of the system message, open

    @classmethod
    def of(cls, instructions: str | None, items: Sequence[Item], box: Toolbox) -> Conversation:
        """Return what is asked, and add to *box* what else can be called. Raises BadRequest."""
        said = cls(box=box)
        if instructions:
            said._add_system(instructions)
        for item in items:
            match decode_part(item.json, KIND, item.where).type:
                case "function_call":
                    said._add_call(item)
                case "custom_tool_call":
                    said._add_custom_call(item)
                case "tool_search_call":
                    said._add_search_call(item)
                case "function_call_output" | "custom_tool_call_output":
                    said._add_result(item)
                case "tool_search_output":
                    said._add_found(item)
                case "additional_tools":
                    more = decode_part(item.json, _MORE_TOOLS, item.where)
                    box.read_more(more.tools, f"{item.where}.tools")
                case "agent_message":
                    said._add_agent_message(item)
                case "reasoning":
                    said._add_reasoning(item)
                case _:
                    said._add_message(item)
        said._end_system()
        said._show_seen()
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
        if role == "system" and parts is None:
            self._add_system(text)
            return
        turn = {"role": role, "content": text}
        self._turn(turn, turn if parts is None else {**turn, "content": parts})

    def _add_call(self, item: Item) -> None:
        call = decode_part(item.json, _CALL, item.where)
        self._call(call.call_id, flat_name(call.namespace, call.name), call.arguments)

    def _add_custom_call(self, item: Item) -> None:
        call = decode_part(item.json, _CUSTOM_CALL, item.where)
        arguments = encode({INPUT: call.input}).decode()
        self._call(call.call_id, flat_name(call.namespace, call.name), arguments)

    def _add_search_call(self, item: Item) -> None:
        call = decode_part(item.json, _SEARCH_CALL, item.where)
        self._call(call.call_id, SEARCH, encode(call.arguments).decode())

    def _call(self, call_id: str, name: str, arguments: str) -> None:
        turn = self._spoken if self._spoken is not None else self._open()
        function = {"name": name, "arguments": arguments}
        told = {"id": call_id, "type": "function", "function": function}
        turn.setdefault("tool_calls", []).append(told)

    def _add_result(self, item: Item) -> None:
        result = decode_part(item.json, _RESULT, item.where)
        where = f"{item.where}.output"
        text, parts = self._content(result.output, where)
        self._turn({"role": "tool", "content": text, "tool_call_id": result.call_id})
        self._seen += [part for part in parts or () if part["type"] == "image_url"]

    def _add_agent_message(self, item: Item) -> None:
        said = decode_part(item.json, _AGENT_MESSAGE, item.where).content
        texts = [part.text if isinstance(part, Text) else part.encrypted_content for part in said]
        self._turn({"role": "user", "content": "\n".join(texts)})

    def _add_found(self, item: Item) -> None:
        found = decode_part(item.json, _FOUND, item.where)
        names = self.box.read_more(found.tools, f"{item.where}.tools")
        text = f"Can be called now: {', '.join(names)}" if names else "No such tools."
        self._turn({"role": "tool", "content": text, "tool_call_id": found.call_id})

    def _add_reasoning(self, item: Item) -> None:
        reasoning = decode_part(item.json, _REASONING, item.where)
        thoughts = reasoning.content or reasoning.summary or []
        if not thoughts:
            return  # encrypted, or nothing: nobody here can read it
        turn = self._fresh()
        before = [turn["reasoning_content"]] if "reasoning_content" in turn else []
        told = "\n".join([*before, *(thought.text for thought in thoughts)])
        turn["reasoning_content"] = told

    def _add_system(self, text: str) -> None:
        if not self._ordered:
            self._turn({"role": "system", "content": ""})
        self._ordered.append(text)

    def _end_system(self) -> None:
        """Say in one system message what stood in a row of them."""
        if self._ordered:
            self.turns[-1] |= {"content": "\n\n".join(self._ordered)}
            self._ordered.clear()

    def _show_seen(self) -> None:
        """Let the user show the images of the results before: a result is text alone in a chat."""
        if self._seen:
            text = "The images of these results:"
            self.turns.append({"role": "user", "content": text})
            parts = [{"type": "text", "text": text}, *self._seen]
            self.source.append({"role": "user", "content": parts})
            self._seen.clear()

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
        self._end_system()
        if turn["role"] != "tool":
            self._show_seen()
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
