"""Clients that misbehave, and two servers to misbehave against: ours and plain Hypercorn.

No HTTP library: a drill says byte for byte what it sends, and no pool hides a connection.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import attrs
import h2.config
import h2.connection
import h2.settings
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from quart import request, websocket
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio

from lattice_http.asgi import Message, Receive, Scope, Send
from lattice_http.security import Guarded, SecurityPolicy
from lattice_http.server import ServeOptions, serve

Stream: TypeAlias = tuple[AsyncIterator[bytes], dict[str, str]]

KEEP_ALIVE_S = 0.3
WRITE_S = 0.4
GRACE_S = 1.0
FLOOD_BYTES = 64 * 1024 * 1024  # what the flood would send to a client that took everything


@attrs.define(eq=False)
class Target:
    """A server under a drill."""

    guarded: bool
    events: Counter[str] = attrs.field(factory=Counter[str])
    stop: trio.Event = attrs.field(factory=trio.Event)
    stopped: trio.Event = attrs.field(factory=trio.Event)
    port: int = 0
    crash: Exception | None = None
    cut_off: int = 0

    def sock(self, receive_buffer: int | None = None) -> socket.socket:
        """A plain socket to it, connected when the server accepts (never blocks for long)."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        return sock

    def connect(self, receive_buffer: int | None = None) -> trio.SocketStream:
        sock = self.sock(receive_buffer)
        sock.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


def build_app(events: Counter[str]) -> QuartTrio:
    """The app both servers run; *events* counts what its handlers live through."""
    app = QuartTrio("drilled")
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["MAX_CONTENT_LENGTH"] = 100_000

    @app.get("/hello")
    async def hello() -> ResponseReturnValue:
        return {"hello": "world"}

    @app.post("/upload")
    async def upload() -> ResponseReturnValue:
        return {"got": len(await request.get_data())}

    @app.get("/silent")
    async def silent() -> Stream:
        async def body() -> AsyncIterator[bytes]:
            events["silent started"] += 1
            try:
                yield b": open\n\n"
                await trio.sleep_forever()
            finally:
                events["silent ended"] += 1

        return body(), {"content-type": "text/event-stream"}

    @app.get("/flood")
    async def flood() -> Stream:
        async def body() -> AsyncIterator[bytes]:
            chunk = bytes(32 * 1024)
            try:
                while events["flooded"] < FLOOD_BYTES:
                    events["flooded"] += len(chunk)
                    yield chunk
                    await trio.lowlevel.checkpoint()
            finally:
                events["flood ended"] += 1

        return body(), {"content-type": "application/octet-stream"}

    @app.websocket("/ws")
    async def ws() -> None:
        while True:
            await websocket.send(str(len(await websocket.receive())))

    return app


class RefusingEarly:
    """Answers POST /refused at once, without a look at the body, as a wrapper may.

    The answer to GET /head-only ends behind its head.
    """

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/refused":
            await trio.sleep(0.05)  # meanwhile the upload fills every queue
            start: Message = {"type": "http.response.start", "status": 413}
            await send(start | {"headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif scope["type"] == "http" and scope["path"] == "/head-only":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        else:
            await self._app(scope, receive, send)  # type: ignore[arg-type]


@asynccontextmanager
async def ours(options: ServeOptions | None = None) -> AsyncIterator[Target]:
    """Our serve loop and wrapper, with small timeouts."""
    target = Target(guarded=True)
    options = options or ServeOptions(
        port=0,
        graceful_timeout_s=GRACE_S,
        keep_alive_timeout_s=KEEP_ALIVE_S,
        write_timeout_s=WRITE_S,
        linger_s=0.1,
        websocket_ping_interval_s=0.3,
    )
    app = Guarded(RefusingEarly(build_app(target.events)), SecurityPolicy())

    async def run(task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
        target.cut_off = await serve(app, options, shutdown=target.stop, task_status=task_status)
        target.stopped.set()

    async with trio.open_nursery() as nursery:
        [(_, target.port)] = await nursery.start(run)
        try:
            yield target
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def plain() -> AsyncIterator[Target]:
    """Hypercorn as it comes, with the same app and the settings that it has for these limits."""
    target = Target(guarded=False)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.graceful_timeout = GRACE_S
    config.websocket_ping_interval = 0.3
    config.websocket_max_message_size = 1024 * 1024
    config.errorlog = None

    async def run(task_status: trio.TaskStatus[list[str]]) -> None:
        try:
            await hypercorn_serve(
                RefusingEarly(build_app(target.events)),  # type: ignore[arg-type]
                config,
                shutdown_trigger=target.stop.wait,
                task_status=task_status,
            )
        except Exception as error:  # noqa: BLE001 - that it crashes may be what a drill shows
            target.crash = error
        target.stopped.set()

    async with trio.open_nursery() as nursery:
        [bound] = await nursery.start(run)
        target.port = int(bound.rpartition(":")[2])
        try:
            yield target
        finally:
            nursery.cancel_scope.cancel()


def get(path: str, *headers: str) -> bytes:
    """A GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def read_until(stream: trio.SocketStream, end: bytes, within_s: float = 2.0) -> bytes:
    """Read until *end* has come, the connection is closed, or the time is up."""
    got = b""
    with trio.move_on_after(within_s), suppress(trio.BrokenResourceError):
        while end not in got:
            more = await stream.receive_some(65536)
            if not more:
                break
            got += more
    return got


async def closes(stream: trio.SocketStream, within_s: float) -> bool:
    """Whether the server closes the connection in time; what it still sends is dropped."""
    with trio.move_on_after(within_s), suppress(trio.BrokenResourceError):
        while await stream.receive_some(65536):
            pass
        return True
    return False


async def happens(target: Target, event: str, within_s: float) -> bool:
    """Whether the app reports *event* in time."""
    with trio.move_on_after(within_s):
        while not target.events[event]:  # noqa: ASYNC110 - counted by code that knows no event
            await trio.sleep(0.005)
        return True
    return False


def reset(stream: trio.SocketStream) -> None:
    """Leave with a RST instead of a FIN."""
    linger = struct.pack("ii", 1, 0)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()


def h2_client(initial_window: int | None = None) -> h2.connection.H2Connection:
    """An HTTP/2 client that gives each stream *initial_window* bytes."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    if initial_window is not None:
        client.local_settings = h2.settings.Settings(
            client=True,
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: initial_window},
        )
    client.initiate_connection()
    return client


def h2_headers(method: str, path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """The header block of a request."""
    fixed = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "localhost")]
    return [*fixed, *more]


def upgrade(*headers: str) -> bytes:
    """The opening of a WebSocket."""
    return get(
        "/ws",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole masked WebSocket frame, the mask being zero."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + bytes(4) + payload
