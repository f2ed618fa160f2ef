"""Connections that are used again: closed at that very moment, or with an answer left in them."""

from __future__ import annotations

import socket
import struct

import httpx2
import pytest
import trio
import trio.testing

from lattice_actors.remote import http1
from lattice_actors.remote.connection import MOST_STALE, Connection
from lattice_actors.remote.ledger import Ledger
from tests.remote.remotely import plan
from tests.remote.test_network import OK, PLAIN, ask, client, serving


def reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.parametrize("size", [2, 1024 * 1024])
@pytest.mark.parametrize("resets", [False, True])
async def test_one_that_closes_as_it_is_asked_again_is_no_failure(
    size: int, *, resets: bool
) -> None:
    opened = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        first = opened == 1
        while await stream.receive_some(2 * 1024 * 1024):
            if first:
                await stream.send_all(OK)
                await stream.receive_some(1)
                if resets:
                    reset(stream)
                return
            with trio.move_on_after(0.05):  # the rest of the body
                while await stream.receive_some():
                    pass
            await stream.send_all(OK)

    async with serving(handle) as port, client(port) as connection:
        assert await ask(connection, b"{}") == (200, b"ok")
        assert await ask(connection, bytes(size)) == (200, b"ok")

    assert opened == 2


async def test_one_that_may_have_worked_on_it_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1, "STALE_S", 0.0)

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(OK)
        await stream.receive_some()

    async with serving(handle) as port, client(port) as connection:
        assert await ask(connection, b"{}") == (200, b"ok")
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(connection, b"{}")


async def test_a_new_one_that_closes_is_a_failure() -> None:
    opened = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        await stream.receive_some()

    async with serving(handle) as port, client(port) as connection:
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(connection, b"{}")

    assert opened == 1


async def test_a_request_does_not_go_through_all_that_are_closed() -> None:
    asked = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal asked
        await stream.receive_some()
        await together.wait()
        await stream.send_all(OK)
        if await stream.receive_some():
            asked += 1

    together = trio.Event()
    async with serving(handle) as port, client(port) as connection:
        async with trio.open_nursery() as nursery:
            for _ in range(MOST_STALE + 2):
                nursery.start_soon(ask, connection, b"{}")
            await trio.testing.wait_all_tasks_blocked(0.02)
            together.set()
        with pytest.raises(http1.Stale):
            await ask(connection, b"{}")

    assert asked == MOST_STALE + 1


@pytest.mark.parametrize("size", [2, 1024 * 1024])
async def test_nobody_gets_what_lay_behind_the_answer_of_another(size: int) -> None:
    opened = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        await stream.receive_some()
        await stream.send_all(OK + OK.replace(b"\r\n\r\nok", b"\r\n\r\nno"))
        while await stream.receive_some():
            pass

    async with serving(handle) as port, client(port) as connection:
        for _ in range(3):
            assert await ask(connection, bytes(size)) == (200, b"ok")
        assert connection._pool.idle == 0

    assert opened == 3


async def test_what_is_sent_again_is_counted_again() -> None:
    first = True

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal first
        while await stream.receive_some():
            await stream.send_all(OK)
            if first:
                first = False
                await stream.receive_some(1)
                return

    ledger = Ledger()
    async with serving(handle) as port:
        there = plan("s", f"http://127.0.0.1:{port}")
        async with Connection(there, ledger, PLAIN) as connection:
            assert await ask(connection, b"abc") == (200, b"ok")
            assert await ask(connection, b"defg") == (200, b"ok")

    (total,) = ledger.sums.values()
    assert (total.requests, total.sent_bytes, total.received_bytes) == (3, 11, 4)
