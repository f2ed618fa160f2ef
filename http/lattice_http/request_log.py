"""One log line for each request, whatever became of it, refused ones included.

The outermost wrapper: it also takes the time of arrival, which every part of the answer counts
from. Routes add to `scope["state"]["log"]`. What became of a request for answers, and of any that
was refused, is told to *over* as well.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
import trio

from lattice_actors.metrics.news import Over

from .asgi import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("lattice.request")

QUIET = frozenset({"/livez", "/readyz", "/healthz"})  # asked every second by orchestrators


class RequestLog:
    """Wrap *app*."""

    def __init__(self, app: ASGIApp, over: Callable[[Over], None] = lambda over: None) -> None:
        self._app = app
        self._over = over

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
            message = said.pop("problem", "")  # may quote the request: shown, and not logged
            if said or (status or 0) >= 400:
                self._over(_over(scope, status, said, message))
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


def _over(scope: Scope, status: int | None, said: dict[str, Any], message: str) -> Over:
    state, outcome = scope["state"], said.get("outcome")
    if outcome in (None, "failed_or_left"):  # nobody said more: the status does
        outcome = "client_left" if status is None else f"http_{status}"
    if not message and status is not None and status >= 400:
        message = HTTPStatus(status).phrase
    return Over(
        (state.get("request_id", ""), state["arrived"]),
        trio.current_time(),
        f"{scope['method']} {scope['path'][:200]}",
        status,
        outcome,
        state.get("principal", ""),
        message,
        said.get("finish_reason"),
        said.get("strategy"),
    )
