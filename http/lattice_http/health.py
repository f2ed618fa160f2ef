"""Is it alive, can it serve, and how is it doing? Open without the key, but then with less."""

from __future__ import annotations

import time
from typing import Any

from quart import Blueprint, Response, request

from lattice_actors.admission.verdicts import Phase
from lattice_actors.catalog.entry import LOCAL, Kind
from lattice_actors.lattice import Lattice
from lattice_actors.settings import Settings

from .asking import is_authenticated, json_response, typed_errors
from .cloud import cloud_facts
from .gateway import Gateway
from .swarm.facts import swarm_facts


def health_routes(gateway: Gateway) -> Blueprint:
    """Return ``/livez`` (the loop runs), ``/readyz`` (a request would be served), ``/healthz``."""
    routes = Blueprint("health", __name__)

    @routes.get("/")
    async def root() -> Response:
        see = ["/llms.txt", "/v1/models", "/v1/chat/completions", "/v1/plan", "/healthz"]
        return json_response({"name": "lattice-trio", "see": see})

    @routes.get("/livez")
    async def livez() -> Response:
        return json_response({"ok": True})

    @routes.get("/readyz")
    @typed_errors
    async def readyz() -> Response:
        reason = await _not_ready(gateway)
        if reason is None:
            return json_response({"ok": True})
        return json_response({"ok": False, "reason": reason}, 503)

    @routes.get("/healthz")
    @typed_errors
    async def healthz() -> Response:
        reason = await _not_ready(gateway)
        body: dict[str, Any] = {"ok": reason is None}
        if is_authenticated(request):
            body |= await _details(gateway)
            if reason is not None:
                body["reason"] = reason
        return json_response(body, 200 if reason is None else 503)

    return routes


async def _not_ready(gateway: Gateway) -> str | None:
    """Why a chat would not be served now, or None."""
    if gateway.draining:
        return "shutting down"
    snapshot = await gateway.lattice.catalog.snapshot()
    chats = [entry.id for entry in snapshot.models if entry.kind is Kind.CHAT]
    if not chats:
        return "there is no model"
    outlook = await gateway.lattice.admission.outlook()
    if all(model in outlook and outlook[model].barred is not None for model in chats):
        return "no model can be loaded"
    return None


def _lm_studio(lattice: Lattice, settings: Settings) -> dict[str, Any]:
    """The keys of LM Studio, where there is one."""
    studio = next((one for one in lattice.upstreams.views() if one.kind == "lmstudio"), None)
    if studio is None:
        return {}
    loaded = studio.loaded
    policy = settings.prefer_loaded_models or "strict"
    return {
        "lmstudio_models": [entry.name for entry in studio.models],
        "lmstudio_loaded_models": list(loaded or ()),
        "lmstudio_loaded_endpoint_supported": loaded is not None,
        "lmstudio_error": studio.reason,
        "prefer_loaded_models": policy != "ignore",
        "strict_loaded_models": policy == "strict",
        "per_model_inflight_cap": settings.lm_studio_model_streams,
    }


async def _details(gateway: Gateway) -> dict[str, Any]:
    """The body that clients of Local Lattice know, without absolute paths."""
    settings, lattice = gateway.settings, gateway.lattice
    world = await lattice.catalog.world()
    residents = await lattice.evictor.view()
    queue = await lattice.admission.view()
    outlook = await lattice.admission.outlook()
    ready = [model for model, shown in queue.models.items() if shown.phase is Phase.READY]
    errors = {
        model: {"error": seen.barred.reason, "ts": int(time.time())}
        for model, seen in outlook.items()
        if seen.barred is not None
    }
    running = {m: s.running + s.leaving for m, s in queue.models.items() if s.running + s.leaving}
    waiting = {model: shown.waiting for model, shown in queue.models.items() if shown.waiting}
    here = [entry.id for entry in world.snapshot.models if entry.backend == LOCAL]
    return {
        "mode": "grab" if gateway.single else "catalog",
        "mlx_models": here,
        "mlx_unusable": {one.id: one.reason for one in world.snapshot.unusable},
        "mlx_loaded": [model for model in ready if model in here],
        "upstreams": {
            view.name: {
                "state": view.state.value,
                "reason": view.reason,
                "models": len(view.models),
                "running": view.running,
            }
            for view in lattice.upstreams.views()
        },
        **_lm_studio(lattice, settings),
        "memory": {
            "loaded": list(residents.resident),
            "count": len(residents.resident),
            "max": residents.max_models,
            "reserved_bytes": residents.reserved_bytes,
            "budget_bytes": residents.budget_bytes,
            "recent_load_errors_count": len(errors),
        },
        "model_roles": {role: list(wanted) for role, wanted in world.rules.roles.items()},
        "default_model": world.rules.runtime_default or world.rules.default_model,
        "on_model_miss": settings.on_model_miss,
        "mlx_per_model_inflight_cap": settings.max_streams_per_model,
        "mlx_queue_max_per_model": settings.queue_max_per_model,
        "mlx_queue_max_total": settings.queue_max_total,
        "mlx_queue_wait_timeout_sec": settings.queue_wait_s,
        "mlx_context_over_budget": settings.context_over_budget,
        "generation_timeout_sec": settings.generation_timeout_s,
        **swarm_facts(settings),
        **cloud_facts(lattice, settings),
        "recent_load_errors": errors,
        "admission": {
            "enabled": True,
            "inflight_cap_per_model": settings.max_streams_per_model,
            "queue_max_per_model": settings.queue_max_per_model,
            "queue_max_total": settings.queue_max_total,
            "inflight_total": sum(running.values()),
            "queued_total": sum(waiting.values()),
            "inflight_by_alias": running,
            "queued_by_alias": waiting,
        },
    }
