"""One request through the wrapper in front of the app."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs
import trio

from lattice_http.asgi import Message, Receive, Scope, Send
from lattice_http.security import Guarded, SecurityPolicy

JSON = (b"content-type", b"application/json")


@attrs.define
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = attrs.field(factory=dict)
    body: bytes = b""
    seen: Scope | None = None  # the scope the app was called with

    @property
    def error(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        error: dict[str, Any] = parsed["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


async def ask(
    policy: SecurityPolicy | None = None,
    method: str = "POST",
    target: bytes = b"/v1/chat/completions",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: Iterable[bytes] = (),
    *,
    kind: str = "http",
    http_version: str = "1.1",
) -> Answer:
    """Put one request through the wrapper; the app behind it reads the body and says 200."""
    answer = Answer()
    chunks = list(body)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer.seen = scope
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": []})
            return
        while (await receive()).get("more_body"):
            pass
        own = [(b"Content-Type", b"text/plain"), (b"X-Frame-Options", b"SAMEORIGIN")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b"fine", "more_body": False})

    async def receive() -> Message:
        await trio.lowlevel.checkpoint()
        if chunks:
            return {"type": "http.request", "body": chunks.pop(0), "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"].endswith("response.start"):
            assert not answer.status
            answer.status = message["status"]
            answer.headers = {name.lower(): value for name, value in message["headers"]}
        elif message["type"].endswith("response.body"):
            answer.body += message["body"]
        elif message["type"] == "websocket.accept":
            answer.status = 101
            answer.headers = dict(message["headers"])

    path, _, query = target.partition(b"?")
    scope: Scope = {
        "type": kind,
        "http_version": http_version,
        "path": path.decode("latin1"),
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "extensions": {"websocket.http.response": {}},
        "state": {},
    }
    if kind == "http":
        scope["method"] = method
    with trio.fail_after(5):
        await Guarded(app, policy or SecurityPolicy())(scope, receive, send)
    return answer


KEYED = SecurityPolicy(api_key="s3cret")
LOCAL = (b"host", b"localhost:5001")
