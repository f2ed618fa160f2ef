"""Anthropic's routes: messages, and counting the tokens of a prompt."""

from __future__ import annotations

import time
from functools import partial

from quart import Blueprint, Response, request

from lattice_http.asking import body_of, exchange_of, json_response, typed_errors
from lattice_http.body import streamed
from lattice_http.gateway import Gateway
from lattice_http.openai.routes import of_chat

from .answers import MessageFrames, new_message_id, whole_message
from .bodies import parse_messages


def anthropic_routes(gateway: Gateway) -> Blueprint:
    """Return the routes below ``/v1/messages``."""
    routes = Blueprint("anthropic", __name__)

    @routes.post("/v1/messages")
    @typed_errors
    async def messages() -> Response:
        parsed = parse_messages(await body_of(request), request.headers, time.time())
        exchange = exchange_of(request, gateway, of_chat(parsed))
        answer_id = new_message_id()
        if parsed.stream:
            return streamed(exchange, partial(MessageFrames, answer_id))
        [deltas] = await exchange.collect()
        body = whole_message(
            answer_id, exchange.model, deltas, exchange.finished[0].reason, exchange.usage
        )
        return json_response(body, headers=exchange.headers())

    return routes
