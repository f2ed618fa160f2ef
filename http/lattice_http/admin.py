"""Looking at the scheduler and steering it: plan, queue, state, models, requests."""

from __future__ import annotations

import time
from typing import Any

import attrs
from quart import Blueprint, Response, request

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Phase, QueueView
from lattice_actors.capability.question import NoRoute
from lattice_actors.capability.spec import meta_model
from lattice_actors.errors import BadRequest, ModelNotFound, NotFound
from lattice_actors.lattice import Lattice

from .asking import body_of, caller_of, json_response, typed_errors
from .gateway import Gateway
from .openai.bodies import parse_json
from .openai.chat import of_chat, parse_chat
from .openai.completions import of_completion, parse_completion
from .openai.embeddings import of_embedding, parse_embedding
from .prompted import Prompted
from .swarm.registry import refuse_swarm
from .ticketing import Chosen, tickets_for


def admin_routes(gateway: Gateway) -> Blueprint:
    """Return the routes for operators and for agents that plan."""
    routes = Blueprint("admin", __name__)
    lattice = gateway.lattice

    @routes.post("/v1/plan")
    @typed_errors
    async def plan() -> Response:
        prompted = _prompted(await body_of(request))
        if gateway.takes_swarms:
            refuse_swarm(meta_model(prompted.request.spec), prompted.request.spec)
        return json_response(await _plan(gateway, prompted))

    @routes.get("/v1/queue")
    @typed_errors
    async def queue() -> Response:
        return json_response(_queue(await lattice.admission.view()))

    @routes.get("/v1/state")
    @typed_errors
    async def state() -> Response:
        shown = await lattice.metrics.look()
        return Response(shown.encoded, content_type="application/json")

    @routes.post("/v1/models/<path:model>/load")
    @typed_errors
    async def load(model: str) -> Response:
        _refuse_remote(lattice, model)
        # Who has this knows that the first scan is over, and the evictor was told of it before.
        await lattice.catalog.snapshot()
        await lattice.evictor.load(model)
        view = await lattice.evictor.view()
        return json_response({"ok": True, "model": model, "resident": list(view.resident)})

    @routes.post("/v1/models/<path:model>/unload")
    @routes.post("/v1/models/<path:model>/drain")
    @typed_errors
    async def unload(model: str) -> Response:
        _refuse_remote(lattice, model)
        unloaded = await lattice.evictor.unload(model)
        body = {"ok": True, "model": model, **attrs.asdict(unloaded)}
        return json_response(body, 202 if unloaded.deferred else 200)

    @routes.post("/v1/models/<path:model>/pin")
    @typed_errors
    async def pin(model: str) -> Response:
        return await _pin(gateway, model, pinned=True)

    @routes.post("/v1/models/<path:model>/unpin")
    @typed_errors
    async def unpin(model: str) -> Response:
        return await _pin(gateway, model, pinned=False)

    @routes.delete("/v1/requests/<request_id>")
    @typed_errors
    async def cancel(request_id: str) -> Response:
        if not gateway.cancel(request_id):
            raise NotFound(f"No request {request_id!r} is waiting or being answered.")
        return json_response({"ok": True, "cancelled": request_id})

    return routes


def _prompted(body: bytes) -> Prompted:
    """Take the body of a chat, of a completion or of a request for embeddings."""
    sent = parse_json(body)
    if "messages" not in sent and "input" in sent:
        return of_embedding(parse_embedding(body, request.headers, time.time()))
    if "messages" not in sent and "prompt" in sent:
        return of_completion(parse_completion(body, request.headers, time.time()))
    return of_chat(parse_chat(body, request.headers, time.time()))


async def _plan(gateway: Gateway, prompted: Prompted) -> dict[str, Any]:
    """What would happen to this request; nothing does."""
    caller, lattice = caller_of(request), gateway.lattice
    route, world, _ = await gateway.route(prompted, caller)
    candidates = [{"id": one.id, "reason": one.reason} for one in route.considered]
    if isinstance(route, NoRoute):
        return {
            "resolution": None,
            "model": None,
            "backend": None,
            "error": {"message": route.message, "code": route.code, "param": route.param},
            "candidates": candidates,
            "queue": None,
            "load": None,
        }
    chosen = Chosen.of(world, route.model)
    tickets, clamped = tickets_for(prompted, caller, chosen, gateway.settings)
    fate = await lattice.admission.predict(tickets[0])
    phase = (await lattice.admission.view()).models.get(route.model)
    needed = phase is None or phase.phase is not Phase.READY
    evicts = await lattice.evictor.plan(route.model) if needed else ()
    return {
        "resolution": route.resolution,
        "model": route.model,
        "backend": route.backend,
        "candidates": candidates,
        "queue": {
            "class": fate.klass.value,
            "position": fate.position,
            "predicted_wait_ms": round(fate.wait_s * 1000),
        },
        "load": {
            "needed": needed,
            "fits": evicts is not None,
            "evicts": list(evicts or ()),
            "predicted_ms": round(fate.load_s * 1000) if needed else 0,
        },
        "max_tokens": tickets[0].job.max_tokens,
        "clamped": list(clamped),
        "ignored": list(prompted.request.ignored),
    }


async def _pin(gateway: Gateway, model: str, *, pinned: bool) -> Response:
    _refuse_remote(gateway.lattice, model)
    if (await gateway.lattice.catalog.snapshot()).get(model) is None:
        raise ModelNotFound(
            f"There is no model {model!r}; GET /v1/models lists those there are.", param="model"
        )
    gateway.lattice.evictor.pin(model, pinned=pinned)
    view = await gateway.lattice.evictor.view()
    return json_response({"ok": True, "model": model, "pinned": sorted(view.pinned)})


def _refuse_remote(lattice: Lattice, model: str) -> None:
    owner = lattice.upstreams.owner(model)
    if owner is not None:
        raise BadRequest(
            f"{model} is on the upstream {owner.name}; what is in its memory is its own affair.",
            code="model_not_here",
            param="model",
        )


def _queue(view: QueueView[Ticket]) -> dict[str, Any]:
    return {
        "waiting": [
            {
                "request_id": waiting.ticket.request_id,
                "model": waiting.model,
                "key": waiting.key,
                "gang": waiting.gang,
                "class": waiting.klass.value,
                "level": waiting.level.name.lower(),
                "position": waiting.position,
                "waited_ms": round(waiting.waited_s * 1000),
                "predicted_wait_ms": round(waiting.predicted_wait_s * 1000),
            }
            for waiting in view.waiting
        ],
        "models": {
            model: {**attrs.asdict(shown), "phase": shown.phase.value}
            for model, shown in view.models.items()
        },
        "swaps": [attrs.asdict(swap) for swap in view.swaps],
        "waiting_total": len(view.waiting),
        "running_total": sum(shown.running + shown.leaving for shown in view.models.values()),
    }
