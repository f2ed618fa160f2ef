"""The bodies of ``/v1/models``: what there is, and the answers to DELETE, which unloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lattice_actors.catalog.entry import LOCAL, Kind, ModelEntry, Unusable

# What a chat may ask of a model of ours; other backends have ideas of their own.
SUPPORTED = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("stop", "n", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias"),
    *("logprobs", "top_logprobs", "response_format", "guided_json", "guided_choice"),
    *("guided_regex", "guided_grammar", "stream", "stream_options", "chat_template_kwargs"),
    *("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
)
# The same of an embedding model; whether it can shorten its vectors is the model's to say.
SUPPORTED_BY_EMBEDDINGS = ("input", "encoding_format", "dimensions", "truncate")


def shown_model(entry: ModelEntry, state: str | None = None) -> dict[str, Any]:
    """Return one ``model`` with what a request may ask of it."""
    told = model_object(entry, state)
    if entry.backend == LOCAL and entry.kind is Kind.CHAT:
        told["supported_parameters"] = list(SUPPORTED)
    if entry.backend == LOCAL and entry.kind is Kind.EMBEDDING:
        told["supported_parameters"] = list(SUPPORTED_BY_EMBEDDINGS)
    return told


def model_object(entry: ModelEntry, state: str | None = None) -> dict[str, Any]:
    """Return one ``model``; *state* is its residency, as the dashboard shows it."""
    return {
        "id": entry.id,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.backend,
        "kind": entry.kind.value,
        "context_length": entry.context_tokens,
        **({} if state is None else {"state": state}),
    }


def model_list(
    entries: Iterable[ModelEntry],
    states: Mapping[str, str] | None = None,
    unusable: Iterable[Unusable] | None = None,
) -> dict[str, Any]:
    """Return the list, in the order of *entries*; *states* by id.

    With *unusable* also the directories that cannot answer and why, without their paths.
    """
    known = states or {}
    body: dict[str, Any] = {
        "object": "list",
        "data": [model_object(entry, known.get(entry.id)) for entry in entries],
    }
    if unusable is not None:
        body["unusable"] = [{"id": each.id, "reason": each.reason} for each in unusable]
    return body


def unloaded(model: str, resident: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Return the answer to a DELETE that was carried out; the files stay."""
    return 200, {"ok": True, "unloaded": model, "deferred": False, "resident": list(resident)}


def unload_deferred(model: str, resident: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Return the answer to a DELETE of a model that is answering."""
    return 202, {
        "ok": True,
        "unloaded": None,
        "deferred": True,
        "alias": model,
        "note": "The model is unloaded when its running answers have ended; "
        "requests that arrive now wait until it is loaded again.",
        "resident": list(resident),
    }


def not_loaded(model: str, resident: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Return the answer to a DELETE of a model that is not in memory, known or not."""
    error = {
        "message": f"The model '{model}' is not loaded.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_loaded",
    }
    return 404, {"ok": False, "error": error, "resident": list(resident)}
