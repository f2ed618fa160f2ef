"""The chunks of streamed answers, as OpenAI's clients read them.

They are made for every token, so what is constant in them is encoded once a stream: a chunk is
prefix + JSON string + suffix.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

import attrs

from lattice_actors.generation import CallPiece, Delta, FinishReason, Usage
from lattice_http import sse
from lattice_http.json_bytes import encode, encode_text

from .answers import FINISH_REASONS, answer_head, call_object, reasoning_fields, usage_object
from .logprobs import TextLogprobs, chat_logprobs

_MARK = uuid.uuid4().hex  # stands for a text that is not known yet; no model has it in its name


@attrs.define(eq=False)
class _Frames:
    """The frames of one stream. All methods return bytes that are ready to be sent."""

    last: ClassVar[bytes] = sse.DONE  # after an error, too

    answer_id: str
    created: int  # Unix time
    model: str
    include_usage: bool = False  # every chunk says ``"usage": null`` until the one that has it
    _kind: str = attrs.field(init=False, default="")

    def usage(self, usage: Usage) -> bytes:
        """Return the chunk of usage, which has no choices; after the last ``finish``."""
        return self._frame({"choices": [], "usage": usage_object(usage)})

    def start(self, usage: Usage) -> bytes:
        """Return nothing: the first chunk is that of the first token."""
        return b""

    def alive(self, text: str) -> bytes:
        """Return a comment, which clients skip."""
        return sse.comment(text)

    def ended(self, usage: Usage, timing: str) -> bytes:
        """Return the chunk of usage where it is asked for, and a comment."""
        asked = self.usage(usage) if self.include_usage else b""
        return asked + sse.comment(timing)

    def _frame(self, rest: dict[str, Any]) -> bytes:
        return sse.data(encode(self._head() | self._blank_usage() | rest))

    def _head(self) -> dict[str, Any]:
        return answer_head(self.answer_id, self._kind, self.created, self.model)

    def _blank_usage(self) -> dict[str, Any]:
        return {"usage": None} if self.include_usage else {}

    def _split(self, choice: dict[str, Any], *keys: str) -> tuple[bytes, bytes]:
        """Encode a chunk whose text, found by *keys* in *choice*, is not known yet."""
        inner = choice
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = _MARK
        before, after = self._frame({"choices": [choice]}).split(f'"{_MARK}"'.encode())
        return before, after


@attrs.define(eq=False)
class ChunkEncoder(_Frames):
    """The frames of one ``chat.completion.chunk`` stream with *choices* answers.

    In order for each of them: `delta`..., `finish`; and `usage` when all have ended. The role
    comes with the first text, so that it does not arrive before the model has answered.
    """

    choices: int = 1
    _parts: list[tuple[bytes, bytes]] = attrs.field(init=False)
    _silent: set[int] = attrs.field(init=False)  # not one piece: the role is still owed

    def __attrs_post_init__(self) -> None:
        self._kind = "chat.completion.chunk"
        self._silent = set(range(self.choices))
        self._parts = [
            self._split(self._choice(index, {"content": ""}), "delta", "content")
            for index in range(self.choices)
        ]

    def delta(self, delta: Delta, index: int = 0) -> bytes:
        """Return the next piece of the answer *index*."""
        if delta.logprobs or delta.reasoning or delta.calls:
            return self._rich(delta, index)
        text = delta.text
        if index in self._silent:
            self._silent.discard(index)
            first = self._choice(index, {"role": "assistant", "content": ""})
            prefix, suffix = self._split(first, "delta", "content")
        else:
            prefix, suffix = self._parts[index]
        return prefix + encode_text(text) + suffix

    def _rich(self, delta: Delta, index: int) -> bytes:
        """Return a piece that is more than text."""
        new: dict[str, Any] = {}
        if index in self._silent:
            self._silent.discard(index)
            new = {"role": "assistant"}
            if not delta.text:
                new["content"] = None if delta.calls else ""
        if delta.reasoning:
            new |= reasoning_fields(delta.reasoning)
        if delta.text or not (delta.reasoning or delta.calls):
            new["content"] = delta.text
        if delta.calls:
            new["tool_calls"] = [_call_delta(piece) for piece in delta.calls]
        choice = self._choice(index, new)
        if delta.logprobs:
            choice["logprobs"] = chat_logprobs(delta.logprobs)
        return self._frame({"choices": [choice]})

    def finish(self, reason: FinishReason, index: int = 0, stop: str = "") -> bytes:
        """Return the chunk that says why the answer *index* ended; not by which *stop*."""
        delta = {"role": "assistant", "content": ""} if index in self._silent else {}
        return self._frame({"choices": [self._choice(index, delta, FINISH_REASONS[reason])]})

    def error(self, error: dict[str, Any], index: int = 0) -> bytes:
        """Return the last chunk of a stream in which the answer *index* failed."""
        return self._frame({"choices": [self._choice(index, {}, "error")], "error": error})

    @staticmethod
    def _choice(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


@attrs.define(eq=False)
class TextChunkEncoder(_Frames):
    """The frames of one ``text_completion`` stream with *choices* answers, in any order."""

    choices: int = 1
    _parts: list[tuple[bytes, bytes]] = attrs.field(init=False)
    _logprobs: dict[int, TextLogprobs] = attrs.field(init=False, factory=dict[int, TextLogprobs])

    def __attrs_post_init__(self) -> None:
        self._kind = "text_completion"
        self._parts = [
            self._split(self._choice(index, None), "text") for index in range(self.choices)
        ]

    def delta(self, delta: Delta, index: int = 0) -> bytes:
        """Return the next piece of the answer *index*; reasoning has no place in this form."""
        text = delta.text
        if delta.logprobs:
            choice = self._choice(index, None)
            told = self._logprobs.setdefault(index, TextLogprobs()).next(delta.logprobs)
            choice |= {"text": text, "logprobs": told}
            return self._frame({"choices": [choice]})
        if not text and (delta.reasoning or delta.calls):
            return b""
        prefix, suffix = self._parts[index]
        return prefix + encode_text(text) + suffix

    def finish(self, reason: FinishReason, index: int = 0, stop: str = "") -> bytes:
        """Return the chunk that says why the answer *index* ended; not by which *stop*."""
        return self._frame({"choices": [self._choice(index, FINISH_REASONS[reason])]})

    def error(self, error: dict[str, Any], index: int = 0) -> bytes:
        """Return the last chunk of a stream in which the answer *index* failed."""
        return self._frame({"choices": [self._choice(index, "error")], "error": error})

    @staticmethod
    def _choice(index: int, reason: str | None) -> dict[str, Any]:
        return {"text": "", "index": index, "logprobs": None, "finish_reason": reason}


def _call_delta(piece: CallPiece) -> dict[str, Any]:
    if piece.id:
        return {"index": piece.index, **call_object(piece)}
    return {"index": piece.index, "function": {"arguments": piece.arguments}}
