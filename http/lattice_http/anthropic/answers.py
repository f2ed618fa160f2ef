"""The bodies of Anthropic's wire: whole messages, the events of a stream, errors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from lattice_actors.generation import CallPiece, Delta, FinishReason, Usage
from lattice_http import sse
from lattice_http.json_bytes import encode, encode_text
from lattice_http.openai.answers import whole, whole_calls

from .errors import error_body

PING = sse.event("ping", b'{"type":"ping"}')

_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CANCELLED: "max_tokens",  # cut off by somebody else: never the word for whole
}


def new_message_id() -> str:
    """Return ``msg_<hex>``."""
    return f"msg_{uuid.uuid4().hex}"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object: here what was cached is not part of ``input_tokens``."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def whole_message(
    answer_id: str,
    model: str,
    deltas: Sequence[Delta],
    reason: FinishReason,
    usage: Usage,
    stop: str = "",
) -> dict[str, Any]:
    """Return a ``message`` made of all pieces of an answer, which *stop* ended, if any."""
    said = whole(deltas, reason, logprobs=False)
    content: list[dict[str, Any]] = []
    if said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": ""})
    if said.text:
        content.append({"type": "text", "text": said.text})
    content += [_tool_use(call) for call in whole_calls(said.calls)]
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **_stopped(reason, stop),
        "usage": usage_object(usage),
    }


def _stopped(reason: FinishReason, stop: str) -> dict[str, Any]:
    if stop and reason is FinishReason.STOP:
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    return {"stop_reason": _REASONS[reason], "stop_sequence": None}


def _tool_use(call: CallPiece) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):  # cut off by max_tokens: what there is, as it is
        arguments = {"partial_json": call.arguments}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


@attrs.define(eq=False)
class MessageFrames:
    """The events of one streamed message: blocks one after the other, each begun and ended."""

    last: ClassVar[bytes] = b""

    answer_id: str
    model: str
    _block: str = attrs.field(init=False, default="")  # the kind of the open one; "": none
    _call: int = attrs.field(init=False, default=-1)  # the open one is this call
    _index: int = attrs.field(init=False, default=-1)  # of the newest block
    _end: dict[str, Any] = attrs.field(init=False, factory=dict[str, Any])

    def start(self, usage: Usage) -> bytes:
        """Return the first event; *usage* is what is known of the prompt."""
        message = whole_message(self.answer_id, self.model, (), FinishReason.STOP, usage)
        message |= {"stop_reason": None}
        return _event("message_start", {"message": message})

    def delta(self, delta: Delta, index: int = 0) -> bytes:
        """Return the next piece of the answer."""
        chunks: list[bytes] = []
        if delta.reasoning:
            chunks.append(self._open("thinking", {"thinking": "", "signature": ""}))
            chunks.append(self._piece("thinking_delta", "thinking", delta.reasoning))
        if delta.text:
            chunks.append(self._open("text", {"text": ""}))
            chunks.append(self._piece("text_delta", "text", delta.text))
        for call in delta.calls:
            if self._block != "tool_use" or self._call != call.index:
                begun = {"id": call.id, "name": call.name, "input": {}}
                chunks.append(self._close() + self._open("tool_use", begun))
                self._call = call.index
            if call.arguments:
                chunks.append(self._piece("input_json_delta", "partial_json", call.arguments))
        return b"".join(chunks)

    def finish(self, reason: FinishReason, index: int = 0, stop: str = "") -> bytes:
        """Return the end of the open block; the reason comes with the usage."""
        self._end = _stopped(reason, stop)
        return self._close()

    def alive(self, text: str) -> bytes:
        """Return a ``ping``."""
        return PING

    def ended(self, usage: Usage, timing: str) -> bytes:
        """Return the last events."""
        return (
            _event("message_delta", {"delta": self._end, "usage": usage_object(usage)})
            + sse.comment(timing)
            + _event("message_stop", {})
        )

    def error(self, error: dict[str, Any]) -> bytes:
        """Return the last event of a stream that failed."""
        return sse.event("error", encode(error_body(error)))

    def _open(self, kind: str, content: dict[str, Any]) -> bytes:
        if self._block == kind and kind != "tool_use":
            return b""
        closed = self._close()
        self._block = kind
        self._index += 1
        block = {"type": kind, **content}
        return closed + _event(
            "content_block_start", {"index": self._index, "content_block": block}
        )

    def _close(self) -> bytes:
        if not self._block:
            return b""
        kind, self._block = self._block, ""
        signed = b""
        if kind == "thinking":  # clients wait for one, and send it back; ours means nothing
            signed = self._piece("signature_delta", "signature", "")
        return signed + _event("content_block_stop", {"index": self._index})

    def _piece(self, kind: str, key: str, text: str) -> bytes:
        # Made for every token: only the text is encoded.
        head = (
            f'{{"type":"content_block_delta","index":{self._index},'
            f'"delta":{{"type":"{kind}","{key}":'
        )
        return sse.event("content_block_delta", head.encode() + encode_text(text) + b"}}")


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return sse.event(name, encode({"type": name, **fields}))
