"""The way out: what every answer carries, and the answers the wrapper gives itself."""

from __future__ import annotations

import json
from http import HTTPStatus

from .anthropic import errors as anthropic
from .asgi import Headers, Message, Scope, Send
from .request_line import Refusal

HARDENING: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Answer:
    """The way out: adds what every answer carries, and knows whether one has begun."""

    def __init__(self, scope: Scope, send: Send, request_id: bytes) -> None:
        self._scope = scope
        self._send = send
        self.started = False
        self.expect(request_id, [])

    def expect(self, request_id: bytes, cors: Headers) -> None:
        """Set what the answer will carry besides the app's own headers."""
        self._extra: Headers = [(b"x-request-id", request_id), *cors]

    async def send(self, message: Message) -> None:
        """Send *message* of the app, with our headers on the first one."""
        if message["type"].endswith("response.start"):
            self.started = True
            message["headers"] = self._complete(list(message.get("headers", ())))
        elif message["type"] == "websocket.accept":
            self.started = True
            message["headers"] = [*message.get("headers", ()), self._extra[0]]
        await self._send(message)

    def _complete(self, headers: Headers) -> Headers:
        """Add ours where the app has said nothing of its own. `Vary` is a list: always added."""
        names = {name.lower() for name, _ in headers}
        for name, value in (*self._extra, *HARDENING):
            if name not in names or name == b"vary":
                names.add(name)
                headers.append((name, value))
        return headers

    async def preflight(self, headers: Headers) -> None:
        """Answer an OPTIONS request."""
        await self._whole(HTTPStatus.NO_CONTENT, headers, b"")

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with the refusal. Where an answer has begun, leave it cut: that is seen too."""
        if self.started:
            return
        error: dict[str, object] = {
            "message": refusal.message,
            "type": refusal.kind,
            "param": None,
            "code": refusal.code,
        }
        said = {"error": error}
        if anthropic.is_ours(self._scope["path"]):
            said = anthropic.error_body(error, refusal.status)
        body = json.dumps(said).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *refusal.headers,
        ]
        if refusal.close and self._scope.get("http_version") != "2":
            headers.append((b"connection", b"close"))
        await self._whole(refusal.status, headers, body)

    async def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        kind = "http"
        if self._scope["type"] == "websocket":
            if "websocket.http.response" not in self._scope.get("extensions", {}):
                await self._send({"type": "websocket.close", "code": 1008})
                return
            kind = "websocket.http"
        await self.send({"type": f"{kind}.response.start", "status": status, "headers": headers})
        await self.send({"type": f"{kind}.response.body", "body": body, "more_body": False})
