"""``GET /openapi.json``."""

from __future__ import annotations

from functools import cache

from quart import Blueprint, Response, current_app

from lattice_http.json_bytes import encode

from .document import Route, document, template

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # HEAD and OPTIONS are everywhere


def openapi_routes() -> Blueprint:
    """Return the route. The document is made when somebody asks first, and kept as bytes."""
    routes = Blueprint("openapi", __name__)

    @cache
    def written() -> bytes:
        return encode(document(served()))

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return Response(written(), content_type="application/json")

    return routes


def served() -> set[Route]:
    """Return what the app at hand serves; those of a package that is left out are not there."""
    return {
        (method.lower(), template(rule.rule))
        for rule in current_app.url_map.iter_rules()
        for method in rule.methods or ()
        if method in METHODS
    }
