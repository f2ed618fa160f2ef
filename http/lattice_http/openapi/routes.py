"""``GET /openapi.json``."""

from __future__ import annotations

import re

import trio
from quart import Blueprint, Response, current_app

from lattice_http.json_bytes import encode

Route = tuple[str, str]  # "post", "/v1/plan"

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # HEAD and OPTIONS are everywhere


def openapi_routes() -> Blueprint:
    """Return the route. The document is made when somebody asks first, and kept as bytes."""
    routes = Blueprint("openapi", __name__)
    kept: list[bytes] = []

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        if not kept:
            # In a thread: answers that run would feel its tenth of a second.
            kept.append(await trio.to_thread.run_sync(_written, served()))
        return Response(kept[0], content_type="application/json")

    return routes


def _written(routes: set[Route]) -> bytes:
    from .document import document  # a start without anybody who asks does not pay for it

    return encode(document(routes))


def served() -> set[Route]:
    """Return what the app at hand serves; those of a package that is left out are not there."""
    return {
        (method.lower(), template(rule.rule))
        for rule in current_app.url_map.iter_rules()
        for method in rule.methods or ()
        if method in METHODS
    }


def template(rule: str) -> str:
    """Return a rule of the router, ``/v1/models/<path:model>``, as OpenAPI writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
