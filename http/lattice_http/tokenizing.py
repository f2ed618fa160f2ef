"""``POST /tokenize``: the tokens of a prompt, as its model reads it. In the shape of vLLM's."""

from __future__ import annotations

import time
from typing import Annotated

import attrs
import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Count, Text

from .asking import body_of, exchange_of, json_response, typed_errors
from .gateway import Gateway
from .openai.bodies import decode, is_null, unknown_names, unsupported, wrong
from .openai.chat import of_chat, parse_chat
from .openai.request import MAX_MODEL_CHARS, ModelRequest
from .openai.wishes import Headers, read_wishes
from .prompted import Prompted
from .swarm.registry import Swarms, refuse_swarm


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked beside a chat; of a chat, `parse_chat` reads the rest."""

    model: Annotated[str, Meta(max_length=MAX_MODEL_CHARS)] | None = None
    prompt: str | None = None
    messages: msgspec.Raw = msgspec.Raw()
    add_special_tokens: bool | None = None  # of a text; templates write their own
    add_generation_prompt: bool | None = None  # of a chat: end where the answer begins
    continue_final_message: bool | None = None
    return_token_strs: bool | None = None


_BODY = msgspec.json.Decoder(TokenizeBody)
_OURS = frozenset(field.name for field in msgspec.structs.fields(TokenizeBody))


def tokenize_routes(gateway: Gateway, swarms: Swarms) -> Blueprint:
    """Return the route."""
    routes = Blueprint("tokenize", __name__)

    @routes.post("/tokenize")
    @typed_errors
    async def tokenize() -> Response:
        prompted = parse_tokenize(await body_of(request), request.headers, time.time())
        refuse_swarm(swarms.meta(prompted.request.spec), prompted.request.spec)
        exchange = exchange_of(request, gateway, prompted)
        await exchange.collect()
        count, ids = exchange.usage.prompt_tokens, exchange.finished[0].prompt_ids
        if len(ids) != count:
            text = f"the server of {exchange.model} does not tell its tokens"
            raise BadRequest(text, code="unsupported_model", param="model")
        [ticket] = exchange.routed.tickets
        body = {
            "count": count,
            "max_model_len": ticket.job.context_tokens,
            "tokens": ids,
            "token_strs": None,
        }
        return json_response(body, headers=exchange.headers())

    return routes


def counting(prompted: Prompted, count: Count) -> Prompted:
    """Return *prompted* with nothing wanted but the tokens of its prompt."""
    # The least that admission can weigh.
    asked = attrs.evolve(prompted.request, count=count, max_tokens=1, n=1, stream=False)
    return attrs.evolve(prompted, request=asked)


def parse_tokenize(body: bytes, headers: Headers, unix_now: float) -> Prompted:
    """Check one body. Raises `BadRequest`, which names the field."""
    form, sent = decode(body, _BODY)
    if form.continue_final_message:
        raise unsupported("continue_final_message")
    if form.return_token_strs:
        raise unsupported("return_token_strs")
    if is_null(form.messages) == (form.prompt is None):
        raise wrong("prompt", "expected either this or messages")
    if form.prompt is None:
        return _chat(body, form, headers, unix_now)
    text = Text(form.prompt, form.add_special_tokens is not False)
    asked = ModelRequest(
        spec=form.model,
        wishes=read_wishes(None, headers, unix_now),
        ignored=tuple(unknown_names(sent, TokenizeBody)),
    )
    size = len(form.prompt.encode(errors="replace"))
    return counting(Prompted(asked, (text,), (size,), text=form.prompt), "ids")


def _chat(body: bytes, form: TokenizeBody, headers: Headers, unix_now: float) -> Prompted:
    if form.add_special_tokens:
        raise unsupported("add_special_tokens", "the chat template adds its own")
    chat = parse_chat(body, headers, unix_now)
    options = dict(chat.template_options)
    if form.add_generation_prompt is False:
        options["add_generation_prompt"] = False
    ignored = tuple(name for name in chat.ignored if name not in _OURS)
    asked = attrs.evolve(chat, template_options=options, ignored=ignored)
    return counting(of_chat(asked), "ids")
