"""TLS to other servers: what is wrong with it is said, and how it ends makes no difference."""

from __future__ import annotations

import datetime
import ssl
from contextlib import suppress

import httpx2
import pytest
import trio
import trustme

from lattice_actors.remote.connection import fault_of
from tests.remote.test_network import OK, ask, client, contexts, serving

LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


def with_certificate(
    name: str, expires: datetime.datetime | None = None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's with this certificate, and a client's that trusts who made it."""
    authority = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours = ssl.create_default_context()
    authority.issue_cert(name, not_after=expires).configure_cert(theirs)
    authority.configure_trust(ours)
    return theirs, ours


@pytest.mark.parametrize(
    ("name", "expires", "said"),
    [
        ("elsewhere.example", None, "certificate is not valid for 'localhost'"),
        ("localhost", LONG_AGO, "certificate has expired"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_said(
    name: str, expires: datetime.datetime | None, said: str
) -> None:
    theirs, ours = with_certificate(name, expires)

    async def handle(stream: trio.SocketStream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await trio.SSLStream(stream, theirs, server_side=True).do_handshake()

    async with serving(handle) as port, client(port, ours) as connection:
        with pytest.raises(httpx2.ConnectError) as raised:
            await ask(connection, b"{}")
        assert connection._pool.busy == connection._pool.idle == 0

    fault = fault_of("s", raised.value)
    assert fault.code == "upstream_unreachable"
    assert fault.message.startswith("upstream s has a certificate that is not trusted (")
    assert said in fault.message


async def test_plain_http_where_tls_was_said_is_named() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(handle) as port, client(port, ssl.create_default_context()) as connection:
        with pytest.raises(httpx2.ConnectError) as raised:
            await ask(connection, b"{}")

    message = fault_of("s", raised.value).message
    assert message == "upstream s failed in the TLS handshake (wrong version number)"


async def test_one_that_leaves_in_the_handshake_is_said_to() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with serving(handle) as port, client(port, ssl.create_default_context()) as connection:
        with pytest.raises(httpx2.ConnectError) as raised:
            await ask(connection, b"{}")

    fault = fault_of("s", raised.value)
    assert fault.code == "upstream_unreachable"
    assert "failed in the TLS handshake (" in fault.message


@pytest.mark.parametrize("notified", [True, False])
@pytest.mark.parametrize("half", [True, False])
async def test_the_next_request_goes_to_another_connection(*, notified: bool, half: bool) -> None:
    """Closed behind an answer with a close_notify or without; the socket at once, or later."""
    theirs, ours = contexts()
    opened = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal opened
        opened += 1
        secure = trio.SSLStream(stream, theirs, server_side=True, https_compatible=True)
        await secure.receive_some()
        await secure.send_all(OK)
        if notified:
            secure._https_compatible = False  # says that it closes, and waits for nobody
            with trio.move_on_after(0.2 if half else 0), suppress(trio.BrokenResourceError):
                await secure.unwrap()
        elif half:
            await stream.send_eof()
            await trio.sleep(0.2)

    async with serving(handle) as port, client(port, ours) as connection:
        for _ in range(3):
            assert await ask(connection, b"{}") == (200, b"ok")

    assert opened == 3


async def test_an_answer_cut_off_without_a_word_is_no_whole_one() -> None:
    theirs, ours = contexts()

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, theirs, server_side=True, https_compatible=True)
        await secure.receive_some()
        await secure.send_all(OK.removesuffix(b"k"))

    async with serving(handle) as port, client(port, ours) as connection:
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(connection, b"{}")
