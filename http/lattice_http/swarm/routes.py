"""The swarm routes, and the chats that name a swarm."""

from __future__ import annotations

import time
from collections.abc import Callable

from quart import Blueprint, Response, request
from werkzeug.datastructures import Headers as MultiHeaders

from lattice_actors.admission.verdicts import Phase
from lattice_actors.capability.spec import Intent, MetaModel
from lattice_actors.catalog.entry import CLOUD, Kind
from lattice_actors.errors import BadRequest
from lattice_actors.swarm.failure import SwarmFailed
from lattice_http.asking import body_of, caller_of, json_response, request_log, typed_errors
from lattice_http.errors import error_response, telling
from lattice_http.live import live_response
from lattice_http.openai.bodies import wrong
from lattice_http.openai.chat import ChatRequest
from lattice_http.openai.wishes import Headers

from .asking import SwarmParser, SwarmRequest
from .exchange import SwarmExchange
from .facts import presets_of, swarm_facts
from .frames import ChatFrames, NamedFrames
from .headers import swarm_headers
from .registry import Swarms
from .rows import answer_object
from .stream import SwarmStream, failed_answer

Parse = Callable[[bytes, Headers, float], SwarmRequest]

EVENTS_HEADER = "X-Swarm-Events"  # of a chat: the stream also has the named events
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def swarm_routes(swarms: Swarms) -> Blueprint:
    """Return the routes below ``/swarm``."""
    routes = Blueprint("swarm", __name__)
    gateway = swarms.gateway
    parser = SwarmParser(gateway.settings)

    async def run(parse: Parse) -> Response:
        swarms.check_several()
        return await _answer(swarms, parse(await body_of(request), request.headers, time.time()))

    @routes.post("/swarm/fanout")
    @typed_errors
    async def fanout() -> Response:
        return await run(parser.fanout)

    @routes.post("/swarm/vote")
    @typed_errors
    async def vote() -> Response:
        return await run(parser.vote)

    @routes.post("/swarm/pipeline")
    @typed_errors
    async def pipeline() -> Response:
        return await run(parser.pipeline)

    @routes.post("/swarm/debate")
    @typed_errors
    async def debate() -> Response:
        return await run(parser.debate)

    @routes.get("/swarm/models")
    @typed_errors
    async def models() -> Response:
        world = await gateway.lattice.catalog.world()
        shown = (await gateway.lattice.admission.view()).models
        entries = [entry for entry in world.snapshot.models if entry.kind is Kind.CHAT]
        chats = [entry.id for entry in entries]
        here = [entry.id for entry in entries if entry.backend != CLOUD]
        body = {
            "models": chats,
            "loaded": [one for one in here if one in shown and shown[one].phase is Phase.READY],
            "roles": {role: list(wanted) for role, wanted in world.rules.roles.items()},
            "default_model": world.rules.runtime_default or world.rules.default_model,
            "max_concurrent_models": gateway.settings.max_resident_models,
            **swarm_facts(gateway.settings),
            "anthropic_available": gateway.lattice.cloud is not None,
            "anthropic_model": gateway.settings.anthropic_model,
            "swarm_presets": presets_of(gateway.settings, world.rules),
        }
        return json_response(body)

    @routes.delete("/swarm/sessions/<session>/branches/<int:branch>")
    @typed_errors
    async def stop(session: str, branch: int) -> Response:
        swarms.cancel_branch(session, branch)
        return json_response({"ok": True, "session": session, "branch": branch})

    return routes


async def answer_chat(swarms: Swarms, chat: ChatRequest, meta: MetaModel) -> Response:
    """Answer a chat that names a swarm. Raises LatticeError."""
    if meta.intent is Intent.PIPELINE:
        answer = error_response(
            BadRequest(
                "A pipeline has steps, and a chat has no place for them: POST /swarm/pipeline "
                'with "steps" and "messages".',
                code="unsupported_model",
                param="model",
            ),
            caller_of(request).request_id,
            beside={"redirect": "POST /swarm/pipeline"},
        )
        request_log(request)["outcome"] = "unsupported_model"
        return Response(answer.body, answer.status, headers=MultiHeaders(answer.headers))
    parser = SwarmParser(swarms.gateway.settings)
    return await _answer(swarms, parser.chat(chat, meta, events=_wants_events()))


async def _answer(swarms: Swarms, asked: SwarmRequest) -> Response:
    route = f"{request.method} {request.path}"
    exchange = SwarmExchange(swarms, asked, caller_of(request), request_log(request), route)
    created = int(time.time())
    if asked.request.stream:
        make = NamedFrames if asked.meta is None else ChatFrames
        return live_response(SwarmStream(exchange, make(exchange, created), created))
    try:
        outcome = await exchange.whole()
    except Exception as group:
        if not isinstance(telling(group), SwarmFailed):
            raise
        answer = failed_answer(exchange, group, created)
        return Response(answer.body, answer.status, headers=MultiHeaders(answer.headers))
    body = answer_object(asked, exchange.id, created, outcome)
    return json_response(body, headers=swarm_headers(exchange))


def _wants_events() -> bool:
    word = request.headers.get(EVENTS_HEADER, "off").strip().lower()
    if word not in (*_YES, *_NO):
        raise wrong(EVENTS_HEADER, f"expected one of {', '.join((*_YES, *_NO))}")
    return word in _YES
