"""The sockets under the client of other servers: what they send when, TLS, and their failures."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
import trio
import trustme

from lattice_actors.remote.connection import Connection, Reply, fault_of
from lattice_actors.remote.http1 import Http1
from lattice_actors.remote.ledger import Ledger
from lattice_actors.remote.network import connect
from tests.remote.remotely import plan

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def serving(handler: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Run a server of single connections; its port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Connection]:
    """A client of it; with *tls* it trusts whom that trusts."""
    url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    async with Connection(plan("s", url), Ledger(), tls or PLAIN) as connection:
        yield connection


async def ask(connection: Connection, body: bytes | None) -> tuple[int, bytes]:
    with trio.fail_after(10):
        async with connection.send("/v1/x", body, "r", "answer") as reply:
            return reply.status, b"".join([data async for data in reply.chunks])


async def test_the_head_and_the_body_of_a_request_leave_in_one_segment() -> None:
    segments: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        segments.append(bytes(await stream.receive_some(1024 * 1024)))
        await stream.send_all(OK)

    async with serving(handle) as port, client(port) as connection:
        assert await ask(connection, b'{"a": 1}') == (200, b"ok")

    assert segments[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert segments[0].endswith(b'\r\n\r\n{"a": 1}')


async def test_a_large_body_arrives_whole() -> None:
    got = bytearray()
    body = bytes(1024 * 1024)

    async def handle(stream: trio.SocketStream) -> None:
        while not got.endswith(body):
            got.extend(await stream.receive_some())
        await stream.send_all(OK)

    async with serving(handle) as port, client(port) as connection:
        assert await ask(connection, body) == (200, b"ok")


async def test_a_refusal_is_read_though_the_upload_was_not() -> None:
    """It says why before it has read all, and stops reading."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(100)
        await stream.send_all(OK.replace(b"200 OK", b"413 X"))
        stream.socket.shutdown(socket.SHUT_RD)
        await trio.sleep(0.2)

    async with serving(handle) as port, client(port) as connection:
        status, _ = await ask(connection, bytes(4 * 1024 * 1024))

    assert status == 413


async def test_a_kept_connection_that_was_closed_is_not_used_again() -> None:
    opened = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        await stream.receive_some()
        await stream.send_all(OK)
        await stream.aclose()

    async with serving(handle) as port, client(port) as connection:
        for _ in range(3):
            assert (await ask(connection, b"{}"))[0] == 200
            await trio.sleep(0.02)  # so that the end of it has come

    assert opened == 3


async def test_nobody_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with client(port) as connection:
        with pytest.raises(httpx2.ConnectError) as raised:
            await ask(connection, b"{}")

    fault = fault_of("s", raised.value)
    assert (fault.code, fault.message) == ("upstream_unreachable", "upstream s cannot be reached")


async def test_a_server_that_does_not_accept_is_given_up() -> None:
    # The queue of a listener that accepts nothing: what is beyond it is not answered.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        host, port = deaf.getsockname()
        with socket.create_connection((host, port)), pytest.raises(httpx2.ConnectTimeout):
            await connect(httpx2.URL(f"http://{host}:{port}"), PLAIN, 0.1)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's with a certificate, and a client's that trusts it."""
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def test_tls_and_a_connection_kept_with_it() -> None:
    theirs, ours = contexts()
    opened = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        secure = trio.SSLStream(stream, theirs, server_side=True, https_compatible=True)
        while await secure.receive_some():
            await secure.send_all(OK)

    async with serving(handle) as port, client(port, ours) as connection:
        assert await ask(connection, b'{"a": 1}') == (200, b"ok")
        assert await ask(connection, None) == (200, b"ok")

    assert opened == 1


async def test_a_certificate_that_is_not_trusted_is_named() -> None:
    theirs, _ = contexts()

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, theirs, server_side=True)
        with pytest.raises(trio.BrokenResourceError):
            await secure.do_handshake()

    nobody = ssl.create_default_context()
    async with serving(handle) as port, client(port, nobody) as connection:
        with pytest.raises(httpx2.ConnectError) as raised:
            await ask(connection, b"{}")

    fault = fault_of("s", raised.value)
    assert fault.code == "upstream_unreachable"
    assert "has a certificate that is not trusted" in fault.message
    assert "local issuer" in fault.message


@pytest.mark.timeout(20)
def test_a_chain_of_errors_that_is_a_ring_is_followed_once() -> None:
    """The SDK's errors make one where the cloud refuses a connection."""
    caught, raised = OSError("refused"), httpx2.ConnectError("refused")
    raised.__cause__, caught.__context__ = caught, raised

    assert fault_of("s", raised).code == "upstream_unreachable"


async def test_a_handshake_that_never_ends_is_given_up_and_the_socket_closed() -> None:
    closed = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        closed.set()

    async with serving(handle) as port:
        url = httpx2.URL(f"https://localhost:{port}")
        with pytest.raises(httpx2.ConnectTimeout):
            await connect(url, ssl.create_default_context(), 0.2)
        with trio.fail_after(5):
            await closed.wait()


async def test_a_kept_connection_that_was_closed_is_not_quiet() -> None:
    ours, theirs = trio.socket.socketpair()
    connection = Http1(trio.SocketStream(ours))
    assert connection.is_quiet
    theirs.close()
    assert not connection.is_quiet
    await connection.close()


@asynccontextmanager
async def answered(chunks: bytes) -> AsyncIterator[Reply]:
    """An answer with these *chunks* in one segment."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(head + chunks)

    async with (
        serving(handle) as port,
        client(port) as connection,
        connection.send("/v1/x", b"{}", "r", "answer") as reply,
    ):
        yield reply


async def test_what_comes_together_is_read_together_but_for_the_first() -> None:
    async with answered(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n") as reply:
        assert [data async for data in reply.chunks] == [b"a", b"bc"]


async def test_what_came_in_order_is_read_before_what_did_not() -> None:
    async with answered(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\nno chunk\r\n") as reply:
        read = [await anext(reply.chunks), await anext(reply.chunks)]
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(reply.chunks)

    assert read == [b"a", b"bc"]
