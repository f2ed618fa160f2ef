"""What a server says of its swarms: in ``GET /swarm/models``, ``/healthz`` and ``/v1/models``."""

from __future__ import annotations

from typing import Any

from lattice_actors.capability.question import Rules
from lattice_actors.capability.spec import META_MODELS
from lattice_actors.settings import Settings
from lattice_actors.swarm.asks import Strategy
from lattice_actors.swarm.roster import AVAILABLE_TOKENS, LOADED_TOKENS

from .asking import budget_s

_CANONICAL = ("swarmCouncil", "swarm/fanout")
_EXAMPLE_AGENTS = 3


def swarm_facts(settings: Settings) -> dict[str, Any]:
    """Return the keys ``swarm_chat_*`` and their like, as in Local Lattice."""
    return {
        "max_parallel": settings.swarm_parallel or None,
        "swarm_max_branches": settings.swarm_max_branches,
        "swarm_strategies": [one.value for one in Strategy],
        "swarm_presets": {name: list(specs) for name, specs in settings.swarm_presets},
        "swarm_fanout_timeout_sec": settings.swarm_timeout_s,
        "swarm_fanout_budget_example_sec": budget_s(settings, _EXAMPLE_AGENTS),
        "swarm_chat_enabled": settings.swarm_chat and settings.model is None,
        "swarm_chat_default_models": list(settings.swarm_models),
        "swarm_chat_default_strategy": settings.swarm_strategy,
        "swarm_chat_default_judge": settings.swarm_judge,
        "swarm_chat_auto_max": settings.swarm_auto_max,
        "swarm_chat_auto_tokens_loaded": sorted(LOADED_TOKENS),
        "swarm_chat_auto_tokens_available": sorted(AVAILABLE_TOKENS),
        "swarm_chat_canonical": _CANONICAL[0],
        "swarm_chat_aliases": {
            name: {"intent": meta.intent.value, "deprecated": meta.deprecated}
            for name, meta in META_MODELS.items()
        },
    }


def presets_of(settings: Settings, rules: Rules) -> dict[str, tuple[str, ...]]:
    """Return what ``preset:<name>`` stands for; those set while running win."""
    return dict(settings.swarm_presets) | dict(rules.presets)


def meta_models(settings: Settings) -> list[dict[str, Any]]:
    """Return the names that a chat can give instead of a model's, as ``model`` objects."""
    if not settings.swarm_chat or settings.model is not None:
        return []
    return [
        {"id": name, "object": "model", "created": 0, "owned_by": "lattice", "kind": "swarm"}
        for name in _CANONICAL
    ]
