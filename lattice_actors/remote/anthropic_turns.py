"""A conversation in OpenAI's form, as the system prompt and the messages of Anthropic's. Pure.

System turns go to the top wherever they stood. What tools said becomes blocks of the user's next
message. Turns in a row of one side become one message, and what is empty is left out, because an
empty block is refused there. Thoughts of earlier answers are left out: without the signature
that came with them, which OpenAI's form has no place for, they are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import msgspec

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Chat, JsonObject

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_ID = re.compile(r"[^A-Za-z0-9_-]")


def turns_of(chat: Chat) -> tuple[str, list[dict[str, Any]]]:
    """Return the system prompt and the messages.

    Raises:
        BadRequest: a part that cannot be sent, with its place as `param`.
    """
    turns: Sequence[JsonObject] = chat.messages
    if chat.source:
        turns = msgspec.json.decode(chat.source, type=list[dict[str, Any]])
    reading = _Reading()
    for index, turn in enumerate(turns):
        reading.add(turn, f"messages[{index}]")
    if not reading.messages:
        raise BadRequest("messages: a model in the cloud needs one of the user", param="messages")
    return "\n\n".join(reading.system), reading.messages


@attrs.define
class _Reading:
    system: list[str] = attrs.field(factory=list[str])
    messages: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    _open: list[str] = attrs.field(factory=list[str])  # calls without an answer, by their ids

    def add(self, turn: JsonObject, where: str) -> None:
        content = list(_blocks(turn.get("content"), f"{where}.content"))
        match turn.get("role"):
            case "system" | "developer":
                text = "\n".join(block["text"] for block in content if block["type"] == "text")
                self.system += [text] if text else []
            case "assistant":
                self._put("assistant", [*content, *self._calls(turn, where)])
            case "tool" | "function":
                self._put("user", [self._result(turn, content)])
            case _:
                self._put("user", content)

    def _put(self, role: str, blocks: list[dict[str, Any]]) -> None:
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def _calls(self, turn: JsonObject, where: str) -> Iterator[dict[str, Any]]:
        calls = turn.get("tool_calls") or ()
        if not calls and turn.get("function_call"):
            calls = ({"function": turn["function_call"]},)
        self._open = []
        for index, call in enumerate(calls):
            function = call["function"]
            place = f"{where}.tool_calls[{index}].function.arguments"
            call_id = _id(call.get("id") or f"call_{len(self.messages)}_{index}")
            self._open.append(call_id)
            arguments = _object(function.get("arguments") or "{}", place)
            yield {
                "type": "tool_use",
                "id": call_id,
                "name": function["name"],
                "input": arguments,
            }

    def _result(self, turn: JsonObject, content: list[dict[str, Any]]) -> dict[str, Any]:
        said = turn.get("tool_call_id")
        call_id = _id(said) if said else (self._open[0] if self._open else "call")
        if call_id in self._open:
            self._open.remove(call_id)
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
        return {**result, "content": content} if content else result


def _blocks(content: object, where: str) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list | tuple):
        return
    for index, part in enumerate(content):
        match part:
            case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                if text.strip():  # a block of nothing but space is refused there
                    yield {"type": "text", "text": text}
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
                yield {"type": "image", "source": _source(url, f"{where}[{index}]")}
            case _:
                raise _unsupported(f"{where}[{index}]", "expected text or an image")


def _source(url: str, where: str) -> dict[str, Any]:
    if found := _DATA_URL.match(url):
        data = url[found.end() :]
        return {"type": "base64", "media_type": found[1].lower(), "data": data}
    if url.lower().startswith("https://"):
        return {"type": "url", "url": url}
    raise _unsupported(where, "models in the cloud take data:image/...;base64 or an https address")


def _object(text: object, where: str) -> dict[str, Any]:
    value = text
    if isinstance(text, str):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise _unsupported(where, "models in the cloud take JSON objects only")
    return value


def _id(text: str) -> str:
    """Return *text* as an id that is taken: letters, digits, ``_`` and ``-``."""
    return _ID.sub(lambda sign: f"_{ord(sign[0]):x}", text)


def _unsupported(param: str, reason: str) -> BadRequest:
    return BadRequest(f"{param}: {reason}", code="unsupported_parameter", param=param)
