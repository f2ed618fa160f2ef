"""The bodies of model answers, whole and in chunks, as OpenAI's clients read them.

Chunks are made for every token, so what is constant in them is encoded once a stream: a chunk
is prefix + JSON string + suffix.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from lattice_actors.generation import FinishReason, Usage
from lattice_http import sse
from lattice_http.json_bytes import encode, encode_text

from .logprobs import TextLogprobs, Told, chat_logprobs

_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
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
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def total_usage(usages: Mapping[int, Usage], n: int = 1) -> Usage:
    """Return the sum over the choices of *usages*, each prompt having *n*.

    A prompt counts once, with what was cached of it for the first of its choices.
    """
    prompt = completion = cached = 0
    counted: set[int] = set()
    for choice, usage in sorted(usages.items()):
        completion += usage.completion_tokens
        if choice // n not in counted:
            counted.add(choice // n)
            prompt += usage.prompt_tokens
            cached += usage.cached_tokens
    return Usage(prompt, completion, cached)


@attrs.frozen
class Whole:
    """One choice of an answer."""

    text: str
    reason: FinishReason
    logprobs: Told | None = None  # None: nobody asked


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
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
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

    answer_id: str
    created: int  # Unix time
    model: str
    include_usage: bool = False  # every chunk says ``"usage": null`` until the one that has it
    _kind: str = attrs.field(init=False, default="")

    def usage(self, usage: Usage) -> bytes:
        """Return the chunk of usage, which has no choices; after the last ``finish``."""
        return self._frame({"choices": [], "usage": usage_object(usage)})

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

    def delta(self, text: str, index: int = 0, logprobs: Told = ()) -> bytes:
        """Return the next piece of the answer *index*."""
        if logprobs:
            role = {"role": "assistant"} if index in self._silent else {}
            self._silent.discard(index)
            choice = self._choice(index, {**role, "content": text})
            return self._frame({"choices": [choice | {"logprobs": chat_logprobs(logprobs)}]})
        if index in self._silent:
            self._silent.discard(index)
            first = self._choice(index, {"role": "assistant", "content": ""})
            prefix, suffix = self._split(first, "delta", "content")
        else:
            prefix, suffix = self._parts[index]
        return prefix + encode_text(text) + suffix

    def finish(self, reason: FinishReason, index: int = 0) -> bytes:
        """Return the chunk that says why the answer *index* ended."""
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

    def delta(self, text: str, index: int = 0, logprobs: Told = ()) -> bytes:
        """Return the next piece of the answer *index*."""
        if logprobs:
            choice = self._choice(index, None)
            told = self._logprobs.setdefault(index, TextLogprobs()).next(logprobs)
            choice |= {"text": text, "logprobs": told}
            return self._frame({"choices": [choice]})
        prefix, suffix = self._parts[index]
        return prefix + encode_text(text) + suffix

    def finish(self, reason: FinishReason, index: int = 0) -> bytes:
        """Return the chunk that says why the answer *index* ended."""
        return self._frame({"choices": [self._choice(index, _REASONS[reason])]})

    def error(self, error: dict[str, Any], index: int = 0) -> bytes:
        """Return the last chunk of a stream in which the answer *index* failed."""
        return self._frame({"choices": [self._choice(index, "error")], "error": error})

    @staticmethod
    def _choice(index: int, reason: str | None) -> dict[str, Any]:
        return {"text": "", "index": index, "logprobs": None, "finish_reason": reason}
