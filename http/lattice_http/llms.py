"""`GET /llms.txt`: what a program must know to use this server, as one page of text.

Agents look for it at the root (https://llmstxt.org). It tells of the program and not of the
machine, so it needs no key.
"""

from __future__ import annotations

from pathlib import Path

from quart import Blueprint, Response

NAME = "llms.txt"
_HERE = Path(__file__).resolve().parent


def llms_routes() -> Blueprint:
    """Return the route. The text is read once, so no request reaches the file system."""
    routes = Blueprint("llms", __name__)
    text = _text()

    @routes.get(f"/{NAME}")
    async def llms() -> Response:
        return Response(text, content_type="text/plain; charset=utf-8")

    return routes


def _text() -> bytes:
    """Return the file: beside this module in a wheel, at the top of a checkout."""
    packed = _HERE / NAME
    return (packed if packed.is_file() else _HERE.parents[1] / NAME).read_bytes()
