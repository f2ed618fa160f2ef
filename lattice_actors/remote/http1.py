"""One HTTP/1.1 connection to another server: asked, heard, and asked again. On h11."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import attrs
import h11
import httpx2
import trio

from .network import Stream, socket_of

READ_BYTES = 64 * 1024
MAX_HEAD_BYTES = 100 * 1024
WRITE_S = 30.0  # for a request to be taken
STALE_S = 1.0  # who closes later than this may have worked on what was asked

Headers = list[tuple[bytes, bytes]]
_OVER = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)  # states of theirs


class Stale(httpx2.ReadError):
    """A kept connection was closed before what was asked on it can have been looked at."""


@attrs.define(eq=False)
class Http1:
    """Asked with `ask`, then read as an iterator of the body's bytes. Raises httpx2's errors.

    No generators, no locks, no clock round a read: those who read have one, which sees whether the
    bytes say anything. Who has read enough closes it, or asks whether it `may_be_kept`.
    """

    _stream: Stream
    _wire: h11.Connection = attrs.field(
        init=False, factory=lambda: h11.Connection(h11.CLIENT, MAX_HEAD_BYTES)
    )
    _asked_at: float = attrs.field(init=False, default=-math.inf)  # Trio seconds
    _heard: bool = attrs.field(init=False, default=False)  # something, since it was asked
    _begun: bool = attrs.field(init=False, default=False)  # the body
    _kept_at: float = attrs.field(init=False, default=-math.inf)  # never: it is new

    async def ask(
        self, method: bytes, target: bytes, headers: Headers, body: bytes
    ) -> h11.Response:
        """Send a request in one piece; return the head of its answer.

        Raises:
            Stale: it had been kept, and was closed before it said a word.
            httpx2.TransportError: it failed.
        """
        wire = self._wire
        try:
            parts = [wire.send(h11.Request(method=method, target=target, headers=headers))]
            if body:
                parts.append(wire.send(h11.Data(data=body)))
            parts.append(wire.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        self._heard = self._begun = False
        self._asked_at = trio.current_time()
        await self._send(b"".join(filter(None, parts)))
        while True:
            event = self._next()
            if event is h11.NEED_DATA:
                await self._receive()
            elif isinstance(event, h11.Response):
                return event
            elif not isinstance(event, h11.InformationalResponse):
                raise httpx2.RemoteProtocolError("no answer, but the end of one")

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return what has come of the body. The first piece comes alone: it is waited for."""
        parts: list[bytes] = []
        while True:
            try:
                event = None if self._wire.their_state in _OVER else self._next()
            except httpx2.RemoteProtocolError:
                if parts:  # they were in order; the next read says what is not
                    return b"".join(parts)
                raise
            if isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                if self._begun:
                    continue
                self._begun = True
            elif event is h11.NEED_DATA and not parts:
                await self._receive()
                continue
            if parts:
                return b"".join(parts)
            raise StopAsyncIteration

    @property
    def may_be_kept(self) -> bool:
        """Whether another request may go here: all was read, and nothing lies behind it."""
        wire = self._wire
        return (
            wire.our_state is h11.DONE
            and wire.their_state is h11.DONE
            and not wire.trailing_data[0]
        )

    def keep(self) -> None:
        """Be ready for another request."""
        self._wire.start_next_cycle()
        self._kept_at = trio.current_time()

    @property
    def kept_for_s(self) -> float:
        return trio.current_time() - self._kept_at

    @property
    def is_quiet(self) -> bool:
        """Whether it, kept, has neither said anything nor been closed."""
        return not socket_of(self._stream).is_readable()

    async def close(self) -> None:
        """At once, whatever is under way, also where we are cancelled."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    def _next(self) -> object:
        try:
            return self._wire.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(str(error)) from error

    async def _send(self, data: bytes) -> None:
        try:
            with trio.fail_after(WRITE_S):
                await self._stream.send_all(data)
        except trio.TooSlowError as error:
            raise httpx2.WriteTimeout("the request was not taken") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # who refuses what it has not read may have closed its ear, and said why

    async def _receive(self) -> None:
        try:
            data = bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise (Stale if self._stale else httpx2.ReadError)(str(error)) from error
        if data:
            self._heard = True
        elif self._stale:
            raise Stale("a kept connection was closed")
        elif not self._heard:
            raise httpx2.RemoteProtocolError("the connection was closed without an answer")
        self._wire.receive_data(data)

    @property
    def _stale(self) -> bool:
        soon = trio.current_time() - self._asked_at < STALE_S
        return self._kept_at > -math.inf and soon and not self._heard
