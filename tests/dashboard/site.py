"""The whole HTTP layer over real actors and a fake engine, asked without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from lattice_actors.lattice import Lattice
from lattice_actors.settings import Settings
from lattice_dashboard.desk import Desk
from lattice_dashboard.routes import dashboard_routes
from lattice_http.app import make_app
from lattice_http.asgi import ASGIApp, Message
from lattice_http.cli import parts
from lattice_http.gateway import Gateway
from tests.actors.house import open_house

SECRET_PROMPT = "the launch code is 0000"


@attrs.define
class Answered:
    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    content: bytes = b""

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.content)


@attrs.define
class Site:
    app: ASGIApp
    lattice: Lattice

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answered:
        content = json.dumps(body).encode() if body is not None else b""
        answered = Answered()
        sent = [(b"host", b"localhost"), *((k.encode(), v.encode()) for k, v in headers.items())]
        if body is not None:
            sent += [(b"content-type", b"application/json")]
            sent += [(b"content-length", str(len(content)).encode())]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": sent,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await trio.sleep_forever()
            raise AssertionError

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.headers = {n.decode().lower(): v.decode() for n, v in message["headers"]}
            else:
                answered.content += message.get("body", b"")

        await self.app(scope, receive, send)
        return answered

    async def chat(self, **fields: object) -> Answered:
        messages = [{"role": "user", "content": SECRET_PROMPT}]
        body = {"model": "a", "messages": messages, "max_tokens": 3, **fields}
        return await self.ask("POST", "/v1/chat/completions", body)


@asynccontextmanager
async def open_site(
    static: Path = Path("/nowhere"),
    key: str | None = None,
    **changed: Any,  # noqa: ANN401
) -> AsyncIterator[Site]:
    settings = Settings(api_key=key, **changed)
    async with open_house(shown=parts.shown(settings)) as house:
        policy = parts.security(settings)
        desk = Desk(house.lattice, settings, policy.is_key, trio.Event(), static)
        gateway = Gateway(house.lattice, settings)
        yield Site(make_app(gateway, policy, [dashboard_routes(desk)]), house.lattice)
