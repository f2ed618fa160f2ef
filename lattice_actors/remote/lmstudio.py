"""LM Studio: which of its models are in its memory, and what that means for a choice. Pure.

strict   with at least one loaded, only loaded models can be chosen; else as prefer
prefer   loaded models go first, whatever the spec; the others are loaded by LM Studio
ignore   no difference
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec

from lattice_actors.catalog.entry import Standing

from .plan import Policy

LOADED_PATH = "/api/v0/models"


class _Model(msgspec.Struct):
    id: str
    type: str | None = None  # "llm", "vlm", "embeddings"
    state: str | None = None
    max_context_length: int | None = None
    loaded_context_length: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


@attrs.frozen
class Own:
    """What LM Studio's own list says."""

    loaded: Mapping[str, int | None]  # the models in its memory, with their context
    embeds: Mapping[str, bool]  # of those whose type it tells


def read_own(body: bytes) -> Own:
    """Return what the list says.

    Raises:
        ValueError: it is none.
    """
    models = msgspec.json.decode(body, type=_Models).data
    loaded = {
        model.id: model.loaded_context_length or model.max_context_length
        for model in models
        if model.state == "loaded"
    }
    return Own(loaded, {m.id: m.type == "embeddings" for m in models if m.type is not None})


def standing(model: str, loaded: frozenset[str] | None, policy: Policy) -> Standing:
    """Return how *model* takes part in a choice; *loaded* is None where that is not known."""
    if policy == "ignore" or loaded is None or model in loaded:
        return Standing.OPEN
    return Standing.CLOSED if policy == "strict" and loaded else Standing.ASLEEP
