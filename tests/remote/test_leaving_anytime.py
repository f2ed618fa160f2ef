"""Who asks another server and is cancelled, in whatever turn of the loop, leaves nothing behind."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio

from lattice_actors.remote.connection import Connection
from lattice_actors.remote.ledger import Ledger
from tests.remote.remotely import plan
from tests.remote.test_network import OK, PLAIN, contexts

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MOST_TURNS = 500

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


async def whole(stream: trio.abc.Stream) -> None:
    """Answer at once, and keep the connection."""
    while await stream.receive_some():
        await stream.send_all(OK)


async def in_pieces(stream: trio.abc.Stream) -> None:
    """Head, two chunks and the end, each in a segment of its own."""
    while await stream.receive_some():
        for part in (HEAD, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
            await trio.sleep(0.001)
            await stream.send_all(part)


async def without_end(stream: trio.abc.Stream) -> None:
    """Head and a chunk, and then nothing."""
    while await stream.receive_some():
        await stream.send_all(HEAD + b"1\r\na\r\n")


@attrs.define(eq=False)
class AtTurn(trio.abc.Instrument):
    """Cancels *scope* just before the task in it has its turn of that *number*."""

    number: int
    scope: trio.CancelScope
    task: trio.lowlevel.Task

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.number -= 1
            if self.number == 0:
                self.scope.cancel()


@attrs.define(eq=False)
class Served:
    port: int
    open: int = 0


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None) -> AsyncIterator[Served]:
    async def handle(stream: trio.SocketStream) -> None:
        served.open += 1
        try:
            with suppress(trio.BrokenResourceError):
                await handler(
                    stream
                    if tls is None
                    else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                )
        finally:
            served.open -= 1

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        served = Served(listeners[0].socket.getsockname()[1])
        yield served
        nursery.cancel_scope.cancel()


async def read(connection: Connection, most: int) -> None:
    """Read so many chunks, each with a turn of the loop behind it, as those who ask do."""
    async with connection.send("/v1/x", b"{}", "r", "answer") as reply:
        for _ in range(most):
            if await anext(reply.chunks, None) is None:
                break
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(("handler", "most"), [(whole, 9), (in_pieces, 9), (without_end, 1)])
async def test_cancelled_in_any_turn(handler: Handler, most: int, *, secure: bool) -> None:
    theirs, ours = contexts() if secure else (None, PLAIN)
    async with serving(handler, theirs) as served:
        scheme, host = ("https", "localhost") if secure else ("http", "127.0.0.1")
        there = plan("s", f"{scheme}://{host}:{served.port}")
        for number in range(1, MOST_TURNS):
            async with Connection(there, Ledger(), ours) as connection:
                if number % 2 == 0:  # on a connection that is used again
                    await read(connection, most)
                with trio.CancelScope() as scope:
                    turn = AtTurn(number // 2 + 1, scope, trio.lowlevel.current_task())
                    trio.lowlevel.add_instrument(turn)
                    try:
                        await read(connection, most)
                    finally:
                        trio.lowlevel.remove_instrument(turn)
                pool = connection._pool
                assert pool.busy == 0, number
                held = pool.idle
                with trio.fail_after(5):
                    while served.open > held:  # noqa: ASYNC110 - no event for this
                        await trio.sleep(0.001)
            if turn.number > 0 and number % 2 == 1:  # nothing takes more than a new connection
                break
        else:
            pytest.fail("it never came to its end")
