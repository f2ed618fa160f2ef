"""The three sets of defaults of `--profile`: the launcher tiers of Local Lattice. Pure.

All of them keep one model in memory and answer one request at a time; they differ in how much
may wait and how long answers get.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMMON: Mapping[str, object] = {
    "max_resident_models": 1,
    "max_streams_per_model": 1,
    "context_over_budget": "trim",
    "on_model_miss": "error",
}

TIERS: Mapping[str, Mapping[str, object]] = {
    "safe": {
        **_COMMON,
        "queue_max_per_model": 8,
        "queue_max_total": 16,
        "default_max_tokens": 256,
        "max_tokens_ceiling": 2048,
    },
    "balanced": {
        **_COMMON,
        "queue_max_per_model": 12,
        "queue_max_total": 24,
        "default_max_tokens": 384,
        "max_tokens_ceiling": 3072,
    },
    "faster": {
        **_COMMON,
        "queue_max_per_model": 16,
        "queue_max_total": 32,
        "default_max_tokens": 512,
        "max_tokens_ceiling": 4096,
    },
}
