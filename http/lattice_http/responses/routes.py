"""The routes of OpenAI's Responses."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import trio
from quart import Blueprint, Response, request

from lattice_actors.errors import BadRequest, NotFound
from lattice_http.asking import body_of, caller_of, exchange_of, json_response, typed_errors
from lattice_http.body import Frames, streamed
from lattice_http.exchange import Exchange
from lattice_http.gateway import Gateway
from lattice_http.json_bytes import encode
from lattice_http.openai.bodies import unsupported, wrong
from lattice_http.openai.chat import of_chat
from lattice_http.swarm.registry import Swarms, refuse_swarm

from .answers import Answer, ResponseFrames, new_response_id
from .bodies import Draft, ResponsesRequest, complete, parse_responses
from .output import Output
from .store import Kept, ResponseStore

PATH = "/v1/responses"
PAGE, MOST_OF_A_PAGE = 20, 100  # items, as at OpenAI


def responses_routes(gateway: Gateway, swarms: Swarms) -> Blueprint:
    """Return the routes below ``/v1/responses``."""
    routes = Blueprint("responses", __name__)
    settings = gateway.settings
    store = ResponseStore(
        settings.responses_stored, settings.responses_stored_bytes, settings.responses_stored_s
    )

    @routes.post(PATH)
    @typed_errors
    async def respond() -> Response:
        draft = parse_responses(await body_of(request))
        before = _before(draft, store, caller_of(request).principal)
        most = settings.max_request_bytes
        parsed = complete(draft, before, request.headers, time.time(), most)
        refuse_swarm(swarms.meta(parsed.chat.spec), parsed.chat.spec)
        exchange = exchange_of(request, gateway, of_chat(parsed.chat))
        making = _Making(parsed, exchange, store)
        if parsed.chat.stream:
            return streamed(exchange, making.frames)
        [deltas] = await exchange.collect()
        answer = making.answer(exchange.model)
        answer.add(deltas, exchange.finished[0].reason)
        whole = answer.object(exchange.usage, ended=int(time.time()))
        making.keep(whole)
        return json_response(whole, headers=exchange.headers())

    @routes.get(f"{PATH}/<response_id>")
    @typed_errors
    async def show(response_id: str) -> Response:
        if request.args.get("stream", "false") not in ("false", "0"):
            raise unsupported("stream", "a response that is over is not streamed again")
        return json_response(_kept(store, response_id).response)

    @routes.delete(f"{PATH}/<response_id>")
    @typed_errors
    async def delete(response_id: str) -> Response:
        if not store.delete(caller_of(request).principal, response_id, trio.current_time()):
            raise _no_response(response_id)
        return json_response({"id": response_id, "object": "response", "deleted": True})

    @routes.get(f"{PATH}/<response_id>/input_items")
    @typed_errors
    async def input_items(response_id: str) -> Response:
        return json_response(_page(_kept(store, response_id), request.args))

    return routes


class _Making:
    """What one request makes, and where it is kept."""

    def __init__(self, parsed: ResponsesRequest, exchange: Exchange, store: ResponseStore) -> None:
        self._parsed, self._exchange, self._store = parsed, exchange, store
        self._store_it = parsed.store and store.most > 0
        self._response_id = new_response_id()

    def answer(self, model: str) -> Answer:
        """Return the response as it begins, once it is known who answers."""
        sampling = self._exchange.routed.tickets[0].job.sampling
        echo = {
            **self._parsed.echo,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "store": self._store_it,
        }
        output = Output(self._parsed.summary, self._parsed.callees)
        return Answer(self._response_id, int(time.time()), model, echo, output)

    def frames(self, model: str) -> Frames:
        """Return how it is streamed."""
        return ResponseFrames(self.answer(model), self.keep, time.time)

    def keep(self, whole: dict[str, Any]) -> None:
        """Keep the finished response, so that the next can go on from it."""
        if not self._store_it:
            return
        now = trio.current_time()
        before = [item.json for item in self._parsed.items]
        output = [encode(item) for item in whole["output"]]
        size = len(encode(whole)) + sum(map(len, before)) + sum(map(len, output))
        kept = Kept(whole, before, output, size, now + self._store.for_s)
        self._store.put(self._exchange.caller.principal, self._response_id, kept, now)


def _before(draft: Draft, store: ResponseStore, principal: str) -> list[bytes]:
    """Return the items that the request goes on from. Raises BadRequest."""
    if draft.previous is None:
        return []
    kept = store.get(principal, draft.previous, trio.current_time())
    if kept is None:
        raise wrong(
            "previous_response_id",
            "there is no such response (any more); send the whole conversation as input",
            code="previous_response_not_found",
        )
    return [*kept.input, *kept.output]


def _kept(store: ResponseStore, response_id: str) -> Kept:
    kept = store.get(caller_of(request).principal, response_id, trio.current_time())
    if kept is None:
        raise _no_response(response_id)
    return kept


def _no_response(response_id: str) -> NotFound:
    return NotFound(f"There is no response {response_id[:80]!r} (any more).")


class _Id(msgspec.Struct):
    id: str


_ID = msgspec.json.Decoder(_Id)


def _page(kept: Kept, args: Any) -> dict[str, Any]:  # noqa: ANN401 - werkzeug's multidict
    """Return the items that the query asks for, the newest first unless told."""
    order = args.get("order", "desc")
    if order not in ("asc", "desc"):
        raise wrong("order", "expected asc or desc")
    limit = args.get("limit", str(PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_OF_A_PAGE):
        raise wrong("limit", f"expected a whole number from 1 to {MOST_OF_A_PAGE}")
    items = [(_ID.decode(item).id, item) for item in kept.input]
    if order == "desc":
        items.reverse()
    if (after := args.get("after")) is not None:
        ids = [item_id for item_id, _ in items]
        if after not in ids:
            raise BadRequest("after: there is no such item", param="after")
        items = items[ids.index(after) + 1 :]
    page = items[: int(limit)]
    return {
        "object": "list",
        "data": [msgspec.Raw(item) for _, item in page],
        "first_id": page[0][0] if page else None,
        "last_id": page[-1][0] if page else None,
        "has_more": len(items) > len(page),
    }
