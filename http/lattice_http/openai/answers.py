"""The bodies of model answers, whole and in chunks, as OpenAI's clients read them.

Chunks are made for every token, so what is constant in them is encoded once a stream: a chunk
is prefix + JSON string + suffix.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from lattice_actors.generation import CallPiece, Delta, FinishReason, TokenLogprob, Usage
from lattice_http import sse
from lattice_http.json_bytes import encode, encode_text

from .logprobs import TextLogprobs, Told, chat_logprobs

_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    # Cut off by somebody else than its reader. Never the word for an answer that is whole.
    FinishReason.CANCELLED: "length",
}


def new_chat_id() -> str:
    """Return ``chatcmpl_<hex>``."""
    return f"chatcmpl_{uuid.uuid4().hex}"


def new_completion_id() -> str:
    """Return ``cmpl_<hex>``."""
    return f"cmpl_{uuid.uuid4().hex}"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def total_usage(usages: Mapping[int, Usage], n: int = 1) -> Usage:
    """Return the sum over the choices of *usages*, each prompt having *n*.

    A prompt counts once, with what was cached of it for the first of its choices.
    """
    prompt = completion = cached = reasoning = 0
    counted: set[int] = set()
    for choice, usage in sorted(usages.items()):
        completion += usage.completion_tokens
        reasoning += usage.reasoning_tokens
        if choice // n not in counted:
            counted.add(choice // n)
            prompt += usage.prompt_tokens
            cached += usage.cached_tokens
    return Usage(prompt, completion, cached, reasoning)


@attrs.frozen
class Whole:
    """One choice of an answer."""

    text: str
    reason: FinishReason
    logprobs: Told | None = None  # None: nobody asked
    reasoning: str = ""
    calls: Sequence[CallPiece] = ()


def whole(deltas: Iterable[Delta], reason: FinishReason, *, logprobs: bool) -> Whole:
    """Return an answer of which *deltas* are the pieces: what a stream shows, joined."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[CallPiece] = []
    told: list[TokenLogprob] = []
    for delta in deltas:
        texts.append(delta.text)
        thoughts.append(delta.reasoning)
        calls += delta.calls
        told += delta.logprobs
    return Whole("".join(texts), reason, told if logprobs else None, "".join(thoughts), calls)


def message_object(answer: Whole) -> dict[str, Any]:
    """Return the ``message`` of a choice. Its content is null where it says something else."""
    silent = not answer.text and (answer.calls or answer.reasoning)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if silent else answer.text,
        "refusal": None,
    }
    if answer.reasoning:
        message |= _reasoning(answer.reasoning)
    calls: dict[int, CallPiece] = {}
    for piece in answer.calls:
        known = calls.get(piece.index, CallPiece(piece.index, piece.id, piece.name))
        calls[piece.index] = attrs.evolve(known, arguments=known.arguments + piece.arguments)
    if calls:
        message["tool_calls"] = [_call(calls[index]) for index in sorted(calls)]
    return message


def _reasoning(text: str) -> dict[str, str]:
    """Reasoning under both names that clients look for."""
    return {"reasoning_content": text, "reasoning": text}


def _call(call: CallPiece) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _call_delta(piece: CallPiece) -> dict[str, Any]:
    if piece.id:
        return {"index": piece.index, **_call(piece)}
    return {"index": piece.index, "function": {"arguments": piece.arguments}}


def chat_completion(
    answer_id: str,
    created: int,
    model: str,
    answers: Sequence[Whole],
    usage: Usage,
) -> dict[str, Any]:
    """Return a whole ``chat.completion`` with these choices; *created* is Unix time."""
    choices = [
        {
            "index": index,
            "message": message_object(answer),
            "logprobs": None if answer.logprobs is None else chat_logprobs(answer.logprobs),
            "finish_reason": _REASONS[answer.reason],
        }
        for index, answer in enumerate(answers)
    ]
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": usage_object(usage),
    }


def text_completion(
    answer_id: str,
    created: int,
    model: str,
    answers: Sequence[Whole],
    usage: Usage,
) -> dict[str, Any]:
    """Return a whole ``text_completion`` with these choices."""
    choices = [
        {
            "text": answer.text,
            "index": index,
            "logprobs": None if answer.logprobs is None else TextLogprobs().next(answer.logprobs),
            "finish_reason": _REASONS[answer.reason],
        }
        for index, answer in enumerate(answers)
    ]
    return {
        "id": answer_id,
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": usage_object(usage),
    }


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
        return {
            "id": self.answer_id,
            "object": self._kind,
            "created": self.created,
            "model": self.model,
        }

    def _blank_usage(self) -> dict[str, Any]:
        return {"usage": None} if self.include_usage else {}

    def _split(self, choice: dict[str, Any], *keys: str) -> tuple[bytes, bytes]:
        """Encode a chunk whose text, found by *keys* in *choice*, is not known yet."""
        mark = uuid.uuid4().hex  # cannot be in the model's name
        inner = choice
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = mark
        before, after = self._frame({"choices": [choice]}).split(f'"{mark}"'.encode())
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
            new |= _reasoning(delta.reasoning)
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
        return self._frame({"choices": [self._choice(index, delta, _REASONS[reason])]})

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
        return self._frame({"choices": [self._choice(index, _REASONS[reason])]})

    def error(self, error: dict[str, Any], index: int = 0) -> bytes:
        """Return the last chunk of a stream in which the answer *index* failed."""
        return self._frame({"choices": [self._choice(index, "error")], "error": error})

    @staticmethod
    def _choice(index: int, reason: str | None) -> dict[str, Any]:
        return {"text": "", "index": index, "logprobs": None, "finish_reason": reason}
