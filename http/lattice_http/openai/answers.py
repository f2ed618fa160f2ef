"""The bodies of whole answers, as OpenAI's clients read them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from lattice_actors.generation import CallPiece, Delta, FinishReason, TokenLogprob, Usage

from .logprobs import TextLogprobs, Told, chat_logprobs

FINISH_REASONS = {
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
        message |= reasoning_fields(answer.reasoning)
    if answer.calls:
        message["tool_calls"] = [call_object(call) for call in whole_calls(answer.calls)]
    return message


def whole_calls(pieces: Iterable[CallPiece]) -> list[CallPiece]:
    """Return each call with all of its arguments; id and name are those that came first."""
    calls: dict[int, CallPiece] = {}
    for piece in pieces:
        known = calls.get(piece.index, CallPiece(piece.index))
        calls[piece.index] = CallPiece(
            piece.index,
            known.id or piece.id,
            known.name or piece.name,
            known.arguments + piece.arguments,
        )
    return [calls[index] for index in sorted(calls)]


def reasoning_fields(text: str) -> dict[str, str]:
    """Return reasoning under both names that clients look for."""
    return {"reasoning_content": text, "reasoning": text}


def call_object(call: CallPiece) -> dict[str, Any]:
    """Return one entry of ``tool_calls``."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def answer_head(answer_id: str, kind: str, created: int, model: str) -> dict[str, Any]:
    """Return what answers and chunks begin with; *created* is Unix time."""
    return {"id": answer_id, "object": kind, "created": created, "model": model}


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
            "finish_reason": FINISH_REASONS[answer.reason],
        }
        for index, answer in enumerate(answers)
    ]
    return {
        **answer_head(answer_id, "chat.completion", created, model),
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
            "finish_reason": FINISH_REASONS[answer.reason],
        }
        for index, answer in enumerate(answers)
    ]
    return {
        **answer_head(answer_id, "text_completion", created, model),
        "choices": choices,
        "usage": usage_object(usage),
    }
