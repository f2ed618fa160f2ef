"""The state as a document: what the page, `top` and `GET /v1/state` show.

What has an identity is an object keyed by it, since a merge patch replaces arrays whole. Times
are Unix milliseconds and never ages, which would change at every turn and say nothing new.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from lattice_actors.admission.verdicts import Class, Phase
from lattice_actors.residency.states import ModelState
from lattice_actors.residency.verdicts import EVICTED
from lattice_actors.supervisor import ActorView

from . import others
from .faults import Fault
from .ledger import Ledger
from .patches import Document, without_nulls
from .picture import Picture
from .swarms import Swarms
from .timelines import LOCAL, Timeline, Timelines


def document(
    picture: Picture,
    ledger: Ledger,
    windows: Document,
    timelines: Timelines,
    swarms: Swarms,
    faults: Mapping[int, Fault],
    *,
    config: Mapping[str, object],
    extra: Mapping[str, object],
) -> Document:
    """Return the state, without its number."""
    loading = {view.model for view in picture.models if view.state is ModelState.LOADING}
    residents = picture.residents
    shown: Document = {
        "actors": [_actor(actor, picture) for actor in picture.actors],
        "models": _models(picture, windows["1s"]),
        "memory": None
        if residents is None
        else {
            "reserved_bytes": residents.reserved_bytes,
            "budget_bytes": residents.budget_bytes,
            "max_models": residents.max_models,
        },
        "queue": _queue(picture),
        "upstreams": {
            view.name: others.upstream(view, picture.at_ms + picture.now * 1000)
            for view in picture.upstreams
        },
        "cloud": picture.cloud,
        "egress": None if picture.egress is None else others.egress(picture.egress),
        "requests": {
            name: request(timeline, picture, loading)
            for name, timeline in timelines.shown().items()
        },
        "windows": windows,
        "errors": {str(number): _fault(fault, picture) for number, fault in faults.items()},
        "swarms": swarms.view(picture.at_ms),
        "totals": _totals(ledger, picture),
        "preferences": {
            "default_model": picture.preferences.default_model,
            "swarm_presets": {
                name: list(models) for name, models in picture.preferences.swarm_presets.items()
            },
        },
        "config": dict(config),
        **extra,
    }
    normal: Document = without_nulls(shown)
    return normal


def request(timeline: Timeline, picture: Picture, loading: set[str]) -> Document:
    """Return one request with the times of its phases."""
    arrived, resolved, over = timeline.arrived, timeline.resolved, timeline.over
    facts, ms = timeline.facts, picture.unix_ms
    return {
        "key": arrived.principal,
        "swarm": None
        if arrived.part is None
        else {
            "request_id": arrived.part.request_id,
            "session": arrived.part.session,
            "branch": arrived.part.branch,
        },
        "spec": arrived.spec,
        "stream": arrived.stream,
        "preview": arrived.preview,
        "arrived_ms": ms(timeline.arrived_at),
        "phase": timeline.phase(loading),
        "model": resolved.model if resolved else None,
        "backend": resolved.backend if resolved else None,
        "class": resolved.klass if resolved else None,
        "resolution": resolved.resolution if resolved else None,
        "resolved_ms": ms(resolved.at) if resolved else None,
        "granted_ms": ms(facts.granted_at),
        "load_ms": None if math.isnan(facts.load_s) else round(facts.load_s * 1000),
        "predicted_wait_ms": None
        if math.isnan(timeline.predicted_wait_s)
        else round(timeline.predicted_wait_s * 1000),
        "prefill": {
            "done": facts.prefill_done,
            "total": facts.prefill_total,
            "cached": facts.cached_tokens,
        }
        if facts.prefill_total
        else None,
        "first_ms": ms(facts.first_at),
        "tokens": facts.tokens,
        "prompt_tokens": facts.prompt_tokens or None,
        "ended_ms": ms(over.at) if over else None,
        "route": over.route if over else None,
        "status": over.status if over else None,
        "outcome": over.outcome if over else None,
        "finish_reason": over.finish_reason if over else None,
        "error": {"code": over.outcome, "message": over.message}
        if over is not None and over.message
        else None,
    }


def _actor(actor: ActorView, picture: Picture) -> Document:
    return {
        "name": actor.name,
        "state": actor.state,
        "mailbox_depth": actor.mailbox_depth,
        "restarts": actor.restarts,
        "since_ms": picture.unix_ms(picture.now - actor.age_s),
        "last_error": actor.last_error,
        "children": [_actor(child, picture) for child in actor.children],
    }


def _models(picture: Picture, second: Document) -> Document:
    """Every model there is or was, also those that are not in memory."""
    shown: dict[str, Document] = {}
    for entry in picture.snapshot.models if picture.snapshot is not None else ():
        shown[entry.id] = {
            "model": entry.id,
            "state": ModelState.COLD.value,
            "backend": entry.backend,
            "kind": entry.kind.value,
            "weights_bytes": entry.weights_bytes,
            "context_tokens": entry.context_tokens,
            "builtin": entry.builtin,
        }
    for upstream in picture.upstreams:
        shown |= others.models(upstream)
    rates = second["by"].get("model", {})
    for view in picture.models:
        body = {**attrs.asdict(view), "state": view.state.value}
        shown[view.model] = {**shown.get(view.model, {"backend": LOCAL}), **body}
    queue, residents = picture.queue, picture.residents
    for model, line in queue.models.items() if queue is not None else ():
        if model in shown:
            shown[model] |= {
                "running": line.running,
                "leaving": line.leaving,
                "waiting": line.waiting,
                "slots": line.slots,
                "promised": line.promised,
            }
    for model, body in shown.items():
        if residents is not None and body["backend"] == LOCAL:
            if model in residents.draining:
                body["state"] = "draining"
            body["pinned"] = model in residents.pinned
            body["reserved_bytes"] = residents.bytes_of.get(model, 0)
        body["tokens_per_s"] = rates.get(model, {}).get("tokens_per_s", 0)
    return shown


def _queue(picture: Picture) -> Document | None:
    view = picture.queue
    if view is None:
        return None
    classes = {klass.value: {"waiting": 0} for klass in Class}
    waiting: dict[str, Document] = {}
    for one in view.waiting:
        wait_ms = round(one.predicted_wait_s * 1000)
        entry = classes[one.klass.value]
        entry["waiting"] += 1
        entry["predicted_wait_ms"] = max(entry.get("predicted_wait_ms", 0), wait_ms)
        name, number = one.ticket.request_id, 1
        while name in waiting:  # several answers to one request
            number += 1
            name = f"{one.ticket.request_id}~{number}"
        waiting[name] = {
            "model": one.model,
            "key": one.key,
            "gang": one.gang,
            "class": one.klass.value,
            "level": one.level.name.lower(),
            "position": one.position,
            "arrived_ms": picture.unix_ms(one.ticket.arrived),
            # A tenth of a second is as good as the prediction is.
            "predicted_wait_ms": round(wait_ms, -2),
        }
    return {
        "classes": classes,
        "waiting": waiting,
        "models": {
            model: {**attrs.asdict(shown), "phase": shown.phase.value}
            for model, shown in view.models.items()
            if shown.phase is not Phase.COLD or shown.waiting
        },
        "swaps": [
            {"model": swap.model, "victims": list(swap.victims), "begun": swap.begun}
            for swap in view.swaps
        ],
        "waiting_total": len(view.waiting),
        "running_total": sum(shown.running + shown.leaving for shown in view.models.values()),
    }


def _fault(fault: Fault, picture: Picture) -> Document:
    return {
        "at_ms": picture.unix_ms(fault.at),
        "request_id": fault.request_id,
        "status": fault.status,
        "code": fault.code,
        "message": fault.message,
        "route": fault.route,
        "model": fault.model,
        "class": fault.klass,
        "key": fault.key,
    }


def _totals(ledger: Ledger, picture: Picture) -> Document:
    totals = ledger.totals
    hits = totals.sums.get("lattice_prefix_cache_requests", {})
    stops = totals.sums.get("lattice_model_stops", {})
    return {
        "requests": totals.sum("lattice_requests"),
        "refused": totals.sum("lattice_errors"),
        "tokens": totals.sum("lattice_decoded_tokens") + totals.sum("lattice_upstream_tokens"),
        "prefilled_tokens": totals.sum("lattice_prefilled_tokens"),
        "cache_hits": sum(count for label, count in hits.items() if label[-1] == "hit"),
        "ghost_tokens": sum(view.ghost_tokens for view in picture.models),
        "restarts": sum(view.restarts for view in picture.models),
        "stops": totals.sum("lattice_model_stops"),
        "evictions": sum(count for label, count in stops.items() if label[-1] == EVICTED),
        "failures": totals.sum("lattice_model_failures"),
    }
