"""The last requests as events, for scripts (`GET /dashboard/api/snapshot`). Pure."""

from __future__ import annotations

import math
from typing import Any

from lattice_actors.metrics.kinds import kind_of_chat, kind_of_swarm
from lattice_actors.metrics.news import Over
from lattice_actors.metrics.timelines import Timeline


def event(
    over: Over, timeline: Timeline | None, at_ms: float, *, single: bool = False
) -> dict[str, Any]:
    """Return one event; *at_ms* is added to Trio milliseconds for Unix time.

    An answer within a swarm is an event of its own, with the request as its parent. *single*:
    there is one model for everything.
    """
    resolved = timeline.resolved if timeline is not None else None
    arrived = timeline.arrived if timeline is not None else None
    part = arrived.part if arrived is not None else None
    shown: dict[str, Any] = {
        "request_id": over.key[0],
        "parent_request_id": part.request_id if part is not None else None,
        "agent_slot": part.branch if part is not None else None,
        "route_kind": _kind(over, timeline, single=single),
        "route": over.route,
        "requested_model": arrived.spec if arrived is not None else None,
        "resolved_model": resolved.model if resolved is not None else None,
        "backend": resolved.backend if resolved is not None else None,
        "stream": arrived.stream if arrived is not None else None,
        "prompt_tokens": None,
        "completion_tokens": None,
        "cached_tokens": None,
        "latency_ms": round((over.at - over.key[1]) * 1000),
        "tokens_per_sec": None,
        "status": over.status,
        "outcome": over.outcome,
        "error": over.message or None,
        "ts": round(at_ms / 1000 + over.at, 3),
    }
    if timeline is not None and resolved is not None:
        facts = timeline.facts
        decoding_s = over.at - facts.first_at
        shown |= {
            "prompt_tokens": facts.prompt_tokens,
            "completion_tokens": facts.tokens,
            "cached_tokens": facts.cached_tokens,
        }
        if not math.isnan(decoding_s) and decoding_s > 0:
            shown["tokens_per_sec"] = round(facts.tokens / decoding_s, 2)
    if arrived is not None and arrived.preview is not None:
        shown["preview"] = dict(arrived.preview)
    return shown


def _kind(over: Over, timeline: Timeline | None, *, single: bool) -> str:
    if over.strategy is not None:
        return kind_of_swarm(over.strategy, chat=not over.route.startswith("POST /swarm/"))
    if timeline is None or timeline.resolved is None:
        return "refused"
    arrived = timeline.arrived
    if arrived.part is not None:
        return arrived.part.kind
    return kind_of_chat(timeline.resolved.backend, stream=arrived.stream, single=single)
