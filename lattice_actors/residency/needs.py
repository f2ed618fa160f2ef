"""How many bytes a model is counted with before anything of it is in memory. Pure."""

from __future__ import annotations

from lattice_actors.catalog.entry import ModelEntry

KV_LEAST_TOKENS = 32_768  # room for the batch of one model: so many tokens, or its context
KV_SHARE = 0.25  # but at most this much of the budget


def kv_bytes(entry: ModelEntry, budget_bytes: int) -> int:
    """Return the memory kept for the batch; 0 where the size per token is not known.

    *budget_bytes*: of all models together, 0 for no limit.
    """
    wanted = max(KV_LEAST_TOKENS, entry.context_tokens or 0) * entry.kv_bytes_per_token
    return min(wanted, int(budget_bytes * KV_SHARE)) if budget_bytes else wanted


def needed_bytes(entry: ModelEntry, budget_bytes: int, prefix_cache_bytes: int) -> int:
    """Return what a load of *entry* reserves: weights, batch and kept prompts."""
    return entry.weights_bytes + kv_bytes(entry, budget_bytes) + prefix_cache_bytes
