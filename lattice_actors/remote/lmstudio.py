"""LM Studio: which of its models are in its memory, and what that means for a choice. Pure.

strict   with at least one loaded, only loaded models can be chosen; else as prefer
prefer   loaded models go first, whatever the spec; the others are loaded by LM Studio
ignore   no difference
"""

from __future__ import annotations

import msgspec

from lattice_actors.catalog.entry import Standing

from .plan import Policy

LOADED_PATH = "/api/v0/models"


class _Model(msgspec.Struct):
    id: str
    state: str | None = None
    max_context_length: int | None = None
    loaded_context_length: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


def loaded_models(body: bytes) -> dict[str, int | None]:
    """Return the loaded models with their context, from LM Studio's own list.

    Raises:
        ValueError: it is none.
    """
    models = msgspec.json.decode(body, type=_Models).data
    return {
        model.id: model.loaded_context_length or model.max_context_length
        for model in models
        if model.state == "loaded"
    }


def standing(model: str, loaded: frozenset[str] | None, policy: Policy) -> Standing:
    """Return how *model* takes part in a choice; *loaded* is None where that is not known."""
    if policy == "ignore" or loaded is None or model in loaded:
        return Standing.OPEN
    return Standing.CLOSED if policy == "strict" and loaded else Standing.ASLEEP
