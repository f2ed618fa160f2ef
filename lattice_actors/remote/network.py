"""Sockets for HTTP connections, under Trio: httpcore's own do the same with more turns.

What is written is sent when somebody reads: HTTP/1.1 asks before it listens, so the head and the
body of a request leave in one segment, and the other side wakes once. Reading has no clock here:
those who read have their own, which see whether the bytes say anything.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import httpcore2
import trio

WRITE_S = 30.0  # for a request to be taken
MAX_UNSENT_BYTES = 64 * 1024  # more is sent at once
STALE_S = 1.0  # who closes later than this may have worked on what was asked


class Stale(httpcore2.ReadError):
    """A kept connection was closed before what was asked on it can have been looked at."""


@attrs.define(eq=False)
class Stream(httpcore2.AsyncNetworkStream):
    """One connection. Raises httpcore's errors, and Stale, which is one of them."""

    _stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    heard: bool = attrs.field(init=False, default=False)  # something, since it was asked last
    _unsent: bytearray = attrs.field(init=False, factory=bytearray)
    _again_at: float = attrs.field(init=False, default=-math.inf)  # asked once more (Trio seconds)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        assert timeout is None
        if self._unsent:
            # A server that refuses what it has not read yet may have closed its ear, and said why.
            with suppress(httpcore2.WriteError):
                await self._send()
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise (Stale if self._stale else httpcore2.ReadError)(error) from error
        if data:
            self.heard = True
        elif self._stale:
            raise Stale("a kept connection was closed")
        return data

    @property
    def _stale(self) -> bool:
        return not self.heard and trio.current_time() - self._again_at < STALE_S

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if self.heard:  # the answer to the last request: this is the next one
            self.heard, self._again_at = False, trio.current_time()
        self._unsent += buffer
        if len(self._unsent) > MAX_UNSENT_BYTES:
            await self._send()

    async def _send(self) -> None:
        data, self._unsent = self._unsent, bytearray()
        try:
            with trio.fail_after(WRITE_S):
                await self._stream.send_all(data)
        except trio.TooSlowError as error:
            raise httpcore2.WriteTimeout(error) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.WriteError(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Stream:
        """Return this connection with TLS over it. Raises ConnectError, ConnectTimeout."""
        assert isinstance(self._stream, trio.SocketStream)
        secure = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            with _connecting(timeout):
                await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        return Stream(secure)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's
        """Answer what the pool asks: whether an idle connection has been closed."""
        if info == "is_readable":
            stream = self._stream
            socket = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
            return socket.socket.is_readable()
        return None


class Network(httpcore2.AsyncNetworkBackend):
    """Connects. What is found out about a name is `resolving`'s."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> Stream:
        """Return a connection. Raises ConnectError, ConnectTimeout."""
        assert local_address is None
        assert not socket_options
        with _connecting(timeout):
            return Stream(await trio.open_tcp_stream(host, port))

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@contextmanager
def _connecting(limit_s: float | None) -> Iterator[None]:
    try:
        with trio.fail_after(math.inf if limit_s is None else limit_s):
            yield
    except trio.TooSlowError as error:
        raise httpcore2.ConnectTimeout(error) from error
    except (OSError, trio.BrokenResourceError) as error:
        raise httpcore2.ConnectError(error) from error
