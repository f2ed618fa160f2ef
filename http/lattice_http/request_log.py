"""One log line for each request, whatever became of it, refused ones included.

The outermost wrapper: it also takes the time of arrival, which every part of the answer counts
from. Routes add to `scope["state"]["log"]`.
"""

from __future__ import annotations

from typing import Any

import structlog
import trio

from .asgi import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("lattice.request")

QUIET = frozenset({"/livez", "/readyz", "/healthz"})  # asked every second by orchestrators


class RequestLog:
    """Wrap *app*."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = trio.current_time()
        said: dict[str, Any] = {}
        scope["state"] = {**scope.get("state", {}), "arrived": arrived, "log": said}
        status: int | None = None

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            if scope["path"] not in QUIET or (status or 500) >= 400:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,  # None: the client left before there was one
                    total_ms=round((trio.current_time() - arrived) * 1000, 1),
                    request_id=scope["state"].get("request_id"),
                    principal=scope["state"].get("principal"),
                    **said,
                )
