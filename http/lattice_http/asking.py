"""What routes share about the request at hand: who asks, its line in the log, its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec

from quart import Request, Response

from .errors import telling
from .exchange import Exchange
from .gateway import Gateway
from .json_bytes import encode
from .prompted import Caller, Prompted

P = ParamSpec("P")


def caller_of(request: Request) -> Caller:
    """Return who asks, as the wrappers in front of the app found out."""
    state = request.scope["state"]
    return Caller(state["principal"], state["request_id"], state["arrived"])


def request_log(request: Request) -> dict[str, Any]:
    """Return the fields of the request's log line, to be added to."""
    said: dict[str, Any] = request.scope["state"]["log"]
    return said


def exchange_of(request: Request, gateway: Gateway, prompted: Prompted) -> Exchange:
    """Return the exchange that answers *prompted*, to be opened."""
    return Exchange(gateway, prompted, caller_of(request), request_log(request))


async def body_of(request: Request) -> bytes:
    """Return the whole body; `Guarded` bounds its length."""
    body = await request.get_data(as_text=False)
    return body if isinstance(body, bytes) else body.encode()


def is_authenticated(request: Request) -> bool:
    """Whether the caller showed the key, or there is none."""
    return bool(request.scope["state"]["authenticated"])


def typed_errors(view: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
    """Let *view* raise the one failure that tells most, where a nursery made a group of them."""

    @wraps(view)
    async def typed(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await view(*args, **kwargs)
        except ExceptionGroup as group:
            raise telling(group) from group

    return typed


def json_response(
    body: object, status: int = 200, headers: list[tuple[str, str]] | None = None
) -> Response:
    """Return *body* as JSON."""
    response = Response(encode(body), status, content_type="application/json")
    response.headers.extend(headers or [])
    return response
