"""OpenAI's routes: chat completions, completions, embeddings and models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from lattice_actors.errors import BadRequest, ModelNotFound, NotFound
from lattice_actors.generation import Usage
from lattice_http.asking import body_of, exchange_of, json_response, typed_errors
from lattice_http.body import Frames, streamed
from lattice_http.exchange import Exchange
from lattice_http.gateway import Gateway
from lattice_http.swarm.facts import meta_models
from lattice_http.swarm.registry import Swarms, refuse_swarm
from lattice_http.swarm.routes import answer_chat

from . import models
from .answers import (
    Whole,
    chat_completion,
    new_chat_id,
    new_completion_id,
    text_completion,
    whole,
)
from .chat import ChatRequest, of_chat, parse_chat
from .chunks import ChunkEncoder, TextChunkEncoder
from .completions import CompletionRequest, of_completion, parse_completion
from .embeddings import embedding_list, of_embedding, parse_embedding


def openai_routes(gateway: Gateway, swarms: Swarms) -> Blueprint:
    """Return the routes below ``/v1``."""
    routes = Blueprint("openai", __name__)

    @routes.post("/v1/chat/completions")
    @typed_errors
    async def chat() -> Response:
        parsed = parse_chat(await body_of(request), request.headers, time.time())
        meta = swarms.meta(parsed.spec)
        if meta is not None:
            return await answer_chat(swarms, parsed, meta)
        exchange = exchange_of(request, gateway, of_chat(parsed))
        if parsed.stream:
            return streamed(exchange, partial(_chat_frames, parsed))
        return await _whole(exchange, chat_completion, new_chat_id())

    @routes.post("/v1/completions")
    @typed_errors
    async def completions() -> Response:
        parsed = parse_completion(await body_of(request), request.headers, time.time())
        refuse_swarm(swarms.meta(parsed.spec), parsed.spec)
        exchange = exchange_of(request, gateway, of_completion(parsed))
        if parsed.stream:
            return streamed(exchange, partial(_completion_frames, parsed))
        return await _whole(exchange, text_completion, new_completion_id())

    @routes.post("/v1/embeddings")
    @typed_errors
    async def embeddings() -> Response:
        parsed = parse_embedding(await body_of(request), request.headers, time.time())
        refuse_swarm(swarms.meta(parsed.spec), parsed.spec)
        exchange = exchange_of(request, gateway, of_embedding(parsed))
        await exchange.collect()
        body = await embedding_list(parsed, exchange)
        response = Response(body, content_type="application/json")
        response.headers.extend(exchange.headers())
        return response

    @routes.get("/v1/models")
    @typed_errors
    async def list_models() -> Response:
        snapshot = await gateway.lattice.catalog.snapshot()
        states = dict.fromkeys((entry.id for entry in snapshot.models), "cold")
        states |= await _states(gateway)
        unusable = snapshot.unusable if "unusable" in request.args else None
        body = models.model_list(snapshot.models, states, unusable)
        if "meta" in request.args:
            body["data"] += meta_models(gateway.settings)
        return json_response(body)

    @routes.get("/v1/models/<path:model>")
    @typed_errors
    async def show_model(model: str) -> Response:
        snapshot = await gateway.lattice.catalog.snapshot()
        entry = snapshot.get(model)
        if entry is None:
            raise ModelNotFound(
                f"There is no model {model!r}; GET /v1/models lists those there are.", param="model"
            )
        state = (await _states(gateway)).get(model, "cold")
        return json_response(models.shown_model(entry, state))

    @routes.delete("/v1/models/<path:model>")
    @typed_errors
    async def unload_model(model: str) -> Response:
        if gateway.single:
            raise BadRequest("This server serves one model, which stays loaded.", param="model")
        evictor = gateway.lattice.evictor
        try:
            unloaded = await evictor.unload(model)
        except NotFound:
            status, body = models.not_loaded(model, (await evictor.view()).resident)
            return json_response(body, status)
        answer = models.unload_deferred if unloaded.deferred else models.unloaded
        status, body = answer(model, unloaded.resident)
        return json_response(body, status)

    return routes


Write = Callable[[str, int, str, Sequence[Whole], Usage], dict[str, Any]]


async def _whole(exchange: Exchange, write: Write, answer_id: str) -> Response:
    """Wait for all answers and return them as *write* writes them."""
    asked = exchange.prompted.request.logprobs is not None
    answers = [
        whole(pieces, exchange.finished[index].reason, logprobs=asked)
        for index, pieces in enumerate(await exchange.collect())
    ]
    body = write(answer_id, _now(), exchange.model, answers, exchange.usage)
    return json_response(body, headers=exchange.headers())


def _chat_frames(parsed: ChatRequest, model: str) -> Frames:
    return ChunkEncoder(new_chat_id(), _now(), model, parsed.include_usage, choices=parsed.n)


def _completion_frames(parsed: CompletionRequest, model: str) -> Frames:
    choices = len(parsed.prompts) * parsed.n
    return TextChunkEncoder(
        new_completion_id(), _now(), model, parsed.include_usage, choices=choices
    )


async def _states(gateway: Gateway) -> dict[str, str]:
    """What people see of each model's residency; a model that is not here is cold."""
    view = await gateway.lattice.evictor.view()
    states = {
        shown.model: shown.state.value
        for handle in gateway.lattice.models.all()
        if (shown := handle.view) is not None
    }
    states |= dict.fromkeys(view.draining, "draining")
    return states | dict(gateway.lattice.upstreams.states())


def _now() -> int:
    return int(time.time())
