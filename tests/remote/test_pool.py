"""The connections that are kept for one server: how many, how long, and the newest first."""

from __future__ import annotations

import trio

from lattice_actors.remote.connection import Connection
from lattice_actors.remote.ledger import Ledger
from lattice_actors.remote.pool import Pool
from tests.remote.remotely import plan
from tests.remote.test_network import OK, PLAIN, ask, serving


async def handle(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        await trio.sleep(0.02)  # so that all are asked before one is answered
        await stream.send_all(OK)


async def ask_together(connection: Connection, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask, connection, b"{}")


async def test_as_many_are_kept_as_answers_are_asked_for_at_once() -> None:
    async with serving(handle) as port:
        there = plan("s", f"http://127.0.0.1:{port}", concurrency=3)
        async with Connection(there, Ledger(), PLAIN) as connection:
            await ask_together(connection, 5)
            assert connection._pool.idle == 3
        assert connection._pool.idle == 0


async def test_what_was_idle_for_long_is_closed_when_another_is_over() -> None:
    async with serving(handle) as port:
        there = plan("s", f"http://127.0.0.1:{port}")
        async with Connection(there, Ledger(), PLAIN) as connection:
            connection._pool = Pool(PLAIN, 5.0, 0, 0.1)
            await ask_together(connection, 4)
            assert connection._pool.idle == 4
            await trio.sleep(0.15)
            await ask(connection, b"{}")
            assert connection._pool.idle == 1


async def test_the_newest_is_used_again() -> None:
    opened: list[int] = []

    async def numbered(stream: trio.SocketStream) -> None:
        opened.append(len(opened))
        number = opened[-1]
        while await stream.receive_some():
            await trio.sleep(0.02 * (1 + number))
            await stream.send_all(OK.replace(b"ok", b"%02d" % number))

    async with serving(numbered) as port:
        there = plan("s", f"http://127.0.0.1:{port}")
        async with Connection(there, Ledger(), PLAIN) as connection:
            await ask_together(connection, 3)
            assert await ask(connection, b"{}") == (200, b"02")
            assert len(opened) == 3
