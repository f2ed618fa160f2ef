"""Kept connections to one server: the newest is used first, and each costs the same among many."""

from __future__ import annotations

import ssl
from collections import deque

import attrs
import h11
import httpx2

from .http1 import Headers, Http1
from .network import connect


@attrs.define(eq=False)
class Pool:
    """Of one server. Whoever asks calls `over` with what came of it."""

    _tls: ssl.SSLContext
    _connect_timeout_s: float
    _most_kept: int  # idle; 0: no limit
    _keep_s: float  # idle
    _idle: deque[Http1] = attrs.field(init=False, factory=deque[Http1])  # oldest first
    busy: int = attrs.field(init=False, default=0)

    @property
    def idle(self) -> int:
        """How many connections are kept."""
        return len(self._idle)

    async def ask(
        self, method: bytes, url: httpx2.URL, headers: Headers, body: bytes
    ) -> tuple[Http1, h11.Response]:
        """Return the connection, to read the body from and for `over`, and the answer's head.

        Raises:
            Stale: on a kept connection that was no good any more; another may do better.
            httpx2.TransportError: it failed.
        """
        self.busy += 1
        connection: Http1 | None = None
        try:
            connection = await self._fresh()
            if connection is None:
                connection = Http1(await connect(url, self._tls, self._connect_timeout_s))
            return connection, await connection.ask(method, url.raw_path, headers, body)
        except BaseException:
            self.busy -= 1
            if connection is not None:
                await connection.close()
            raise

    async def over(self, connection: Http1) -> None:
        """The answer has been read, or nobody wants the rest of it. Never cancelled."""
        self.busy -= 1
        if not connection.may_be_kept:
            await connection.close()
            return
        connection.keep()
        self._idle.append(connection)
        too_many = self._most_kept and len(self._idle) > self._most_kept
        while self._idle and (too_many or self._idle[0].kept_for_s >= self._keep_s):
            too_many = False
            await self._idle.popleft().close()

    async def aclose(self) -> None:
        """Close what is kept."""
        while self._idle:
            await self._idle.pop().close()

    async def _fresh(self) -> Http1 | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.kept_for_s < self._keep_s and connection.is_quiet:
                return connection
            await connection.close()
        return None
