"""Kept connections to one server: the newest is used first, and each costs the same among many.

httpcore's own pool looks at all of its connections, with a system call for each idle one, whenever
a request begins or ends: of 500 that were left at once that was a third of the time.
"""

from __future__ import annotations

import ssl
from collections import deque

import attrs
import httpcore2
import trio

from .network import Network, Stale, Stream

Kept = httpcore2.AsyncHTTP11Connection


@attrs.define(eq=False)
class Pool:
    """Of one origin. Whoever asks calls `over` with what came of it."""

    _ssl: ssl.SSLContext
    _connect_timeout_s: float
    _most_kept: int  # idle; 0: no limit
    _keep_s: float  # idle
    _network: Network = attrs.field(init=False, factory=Network)
    _idle: deque[Kept] = attrs.field(init=False, factory=deque[Kept])  # oldest first
    busy: int = attrs.field(init=False, default=0)

    @property
    def idle(self) -> int:
        """How many connections are kept."""
        return len(self._idle)

    async def ask(self, request: httpcore2.Request) -> tuple[Kept, httpcore2.Response]:
        """Return the head of the answer, and what `over` wants.

        Raises:
            Stale: on a kept connection that was no good any more; another may do better.
            httpcore2.NetworkError, TimeoutException, ProtocolError: it failed.
        """
        self.busy += 1
        connection: Kept | None = None
        try:
            connection = await self._fresh() or await self._connect(request.url.origin)
            response = await connection.handle_async_request(request)
            _check(response)
        except BaseException:
            self.busy -= 1
            if connection is not None:
                await _close(connection)
            raise
        return connection, response

    async def over(self, connection: Kept, response: httpcore2.Response) -> None:
        """The answer has been read, or nobody wants the rest of it. Never cancelled."""
        self.busy -= 1
        with trio.CancelScope(shield=True):
            await response.aclose()
        if connection.is_available():
            self._idle.append(connection)
        too_many = self._most_kept and len(self._idle) > self._most_kept
        while self._idle and (too_many or self._idle[0].has_expired()):
            too_many = False
            await _close(self._idle.popleft())

    async def aclose(self) -> None:
        """Close what is kept."""
        while self._idle:
            await _close(self._idle.pop())

    async def _fresh(self) -> Kept | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            await _close(connection)
        return None

    async def _connect(self, origin: httpcore2.Origin) -> Kept:
        host, limit_s = origin.host.decode("ascii"), self._connect_timeout_s
        stream = await self._network.connect_tcp(host, origin.port, limit_s)
        if origin.scheme == b"https":
            self._ssl.set_alpn_protocols(["http/1.1"])
            stream = await stream.start_tls(self._ssl, host, limit_s)
        return Kept(origin, stream, self._keep_s)


def _check(response: httpcore2.Response) -> None:
    """Raise Stale for an answer that lay behind the last one: it may be meant for who asked then.

    Nobody has read a byte since this was asked.
    """
    stream = response.extensions["network_stream"]
    if isinstance(stream, Stream) and not stream.heard:
        raise Stale("answered what was not asked")


async def _close(connection: Kept) -> None:
    with trio.CancelScope(shield=True):
        await connection.aclose()
