"""Connections to other servers, with TLS where their address says so. Raises httpx2's errors."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import httpx2
import trio

Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


async def connect(url: httpx2.URL, tls: ssl.SSLContext, limit_s: float) -> Stream:
    """Return a connection to the host of *url*; *limit_s* is for TCP, and again for TLS.

    Raises:
        httpx2.ConnectError, httpx2.ConnectTimeout: there is none.
    """
    host = url.raw_host.decode("ascii")
    with _connecting(limit_s):
        plain = await trio.open_tcp_stream(host, url.port or (443 if url.scheme == "https" else 80))
    if url.scheme != "https":
        return plain
    return await secured(plain, tls, host, limit_s)


async def secured(
    plain: trio.SocketStream, tls: ssl.SSLContext, host: str, limit_s: float
) -> Stream:
    """Return *plain* with TLS over it; it is closed where that fails. Raises as `connect`."""
    tls.set_alpn_protocols(["http/1.1"])
    stream = trio.SSLStream(plain, tls, server_hostname=host, https_compatible=True)
    try:
        with _connecting(limit_s):
            await stream.do_handshake()
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(plain)
        raise
    return stream


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """Return the socket under it all."""
    return (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket


@contextmanager
def _connecting(limit_s: float) -> Iterator[None]:
    try:
        with trio.fail_after(limit_s):
            yield
    except trio.TooSlowError as error:
        raise httpx2.ConnectTimeout(f"no connection within {limit_s:g} s") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise httpx2.ConnectError(str(error)) from error
