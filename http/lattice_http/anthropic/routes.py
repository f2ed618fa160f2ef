"""Anthropic's routes: messages, and counting the tokens of a prompt."""

from __future__ import annotations

import time
from functools import partial

from quart import Blueprint, Response, request

from lattice_http.asking import body_of, exchange_of, json_response, typed_errors
from lattice_http.body import streamed
from lattice_http.gateway import Gateway
from lattice_http.openai.chat import of_chat
from lattice_http.swarm.registry import Swarms, refuse_swarm
from lattice_http.tokenizing import counting

from .answers import MessageFrames, new_message_id, whole_message
from .bodies import parse_count, parse_messages
from .errors import PATH, in_our_shape


def anthropic_routes(gateway: Gateway, swarms: Swarms) -> Blueprint:
    """Return the routes below ``/v1/messages``."""
    routes = Blueprint("anthropic", __name__)

    @routes.post(PATH)
    @typed_errors
    async def messages() -> Response:
        parsed = parse_messages(await body_of(request), request.headers, time.time())
        refuse_swarm(swarms.meta(parsed.spec), parsed.spec)
        exchange = exchange_of(request, gateway, of_chat(parsed))
        answer_id = new_message_id()
        if parsed.stream:
            return streamed(exchange, partial(MessageFrames, answer_id), in_our_shape)
        [deltas] = await exchange.collect()
        end = exchange.finished[0]
        body = whole_message(
            answer_id, exchange.model, deltas, end.reason, exchange.usage, end.stop
        )
        return json_response(body, headers=exchange.headers())

    @routes.post(f"{PATH}/count_tokens")
    @typed_errors
    async def count_tokens() -> Response:
        parsed = parse_count(await body_of(request), request.headers, time.time())
        refuse_swarm(swarms.meta(parsed.spec), parsed.spec)
        exchange = exchange_of(request, gateway, counting(of_chat(parsed), "total"))
        await exchange.collect()
        body = {"input_tokens": exchange.usage.prompt_tokens}
        return json_response(body, headers=exchange.headers())

    return routes
