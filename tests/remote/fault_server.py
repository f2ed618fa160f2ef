"""An OpenAI-compatible server that does what a test says: well, badly, or not at all.

Raw sockets and h11's reader, so that it can break every rule. `closed` of a request is set the
moment its client closes the connection.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import attrs
import h11
import trio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@attrs.define(eq=False)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float
    closed: trio.Event = attrs.field(factory=trio.Event)
    closed_at: float = float("nan")


Behaviour = Callable[[trio.SocketStream, Seen], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    """Return *data* as one chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: object) -> bytes:
    """Return one event with *value* as JSON."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def piece(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def last(reason: str = "stop", completion_tokens: int = 3) -> bytes:
    """The finish, the usage and the word that nothing follows."""
    usage = {"prompt_tokens": 7, "completion_tokens": completion_tokens}
    return (
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        + event({"choices": [], "usage": usage})
        + b"data: [DONE]\n\n"
    )


def answering(texts: Sequence[str] = ("a", "b", "c"), pause_s: float = 0.0) -> Behaviour:
    """A server in order."""

    async def behave(stream: trio.SocketStream, seen: Seen) -> None:
        await stream.send_all(HEAD)
        for text in texts:
            await stream.send_all(chunk(piece(text)))
            if pause_s:
                await trio.sleep(pause_s)
        await stream.send_all(chunk(last()) + END)

    return behave


def sending(*parts: bytes) -> Behaviour:
    """These bytes, and the end of the connection."""

    async def behave(stream: trio.SocketStream, seen: Seen) -> None:
        for part in parts:
            await stream.send_all(part)
        await stream.aclose()

    return behave


def replying(status: int, body: object, **headers: str) -> Behaviour:
    """A whole answer with this status."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())

    async def behave(stream: trio.SocketStream, seen: Seen) -> None:
        await stream.send_all(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content)

    return behave


def hanging(*parts: bytes) -> Behaviour:
    """These bytes, and silence until the client goes."""

    async def behave(stream: trio.SocketStream, seen: Seen) -> None:
        for part in parts:
            await stream.send_all(part)
        await seen.closed.wait()

    return behave


def resetting(*parts: bytes) -> Behaviour:
    """These bytes, and then a reset."""

    async def behave(stream: trio.SocketStream, seen: Seen) -> None:
        for part in parts:
            await stream.send_all(part)
            await trio.sleep(0.02)  # or the reset overtakes what was sent
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    return behave


@attrs.define(eq=False)
class FaultServer:
    """A running server. `next` are the behaviours of the next answers; then it is `always`."""

    url: str = ""
    models: Behaviour = attrs.field(factory=lambda: listing("m"))
    loaded: Behaviour = attrs.field(factory=lambda: replying(404, {}))
    always: Behaviour = attrs.field(factory=answering)
    next: list[Behaviour] = attrs.field(factory=list[Behaviour])
    seen: list[Seen] = attrs.field(factory=list[Seen])
    connections: int = 0  # open now

    @property
    def asked(self) -> list[Seen]:
        """The requests for answers."""
        return [seen for seen in self.seen if seen.method == "POST"]

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                reader = h11.Connection(h11.SERVER)
                while (seen := await self._request(stream, reader)) is not None:
                    self.seen.append(seen)
                    await self._answer(stream, seen)
                    if seen.closed.is_set() or stream.socket.fileno() < 0:
                        return
                    reader = h11.Connection(h11.SERVER)
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream, seen: Seen) -> None:
        behave = self.always
        if seen.method == "GET":
            behave = self.loaded if seen.path == "/api/v0/models" else self.models
        elif self.next:
            behave = self.next.pop(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, stream, seen)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                await behave(stream, seen)
            nursery.cancel_scope.cancel()

    async def _watch(self, stream: trio.SocketStream, seen: Seen) -> None:
        try:
            # Peeked, not read: the next request of a kept connection is not ours to eat.
            while stream.socket.fileno() >= 0:
                await trio.lowlevel.wait_readable(stream.socket)
                if not stream.socket._sock.recv(1, socket.MSG_PEEK):  # type: ignore[attr-defined]
                    break
                await trio.sleep(0.001)
        except (OSError, trio.ClosedResourceError):
            pass
        seen.closed_at = trio.current_time()
        seen.closed.set()

    async def _request(self, stream: trio.SocketStream, reader: h11.Connection) -> Seen | None:
        seen: Seen | None = None
        body = b""
        while True:
            got = reader.next_event()
            if got is h11.NEED_DATA:
                data = await stream.receive_some()
                if not data:
                    return None
                reader.receive_data(data)
            elif isinstance(got, h11.Request):
                headers = {name.decode(): value.decode() for name, value in got.headers}
                target = got.target.decode()
                seen = Seen(got.method.decode(), target, headers, None, trio.current_time())
            elif isinstance(got, h11.Data):
                body += bytes(got.data)
            elif isinstance(got, h11.EndOfMessage):
                assert seen is not None
                seen.body = json.loads(body) if body else None
                return seen
            else:
                return None


def listing(*names: str, **fields: object) -> Behaviour:
    """A list of models."""
    return replying(200, {"object": "list", "data": [{"id": name, **fields} for name in names]})


@asynccontextmanager
async def fault_server(**fields: Any) -> AsyncIterator[FaultServer]:  # noqa: ANN401 - of FaultServer
    """Run a server on the loopback until the body ends."""
    server = FaultServer(**fields)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
        nursery.cancel_scope.cancel()
