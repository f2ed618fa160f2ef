"""One accepted connection, from its first byte to its close.

One task reads and parses. It is woken by the scope round its read: for the idle deadline, for a
pipelined request whose turn has come, for a close that some answer asked for, and at shutdown.
So there is no idle task (Hypercorn restarts one in a scope that is already cancelled, and never
closes a second-hand connection), and no wait but that read.

    reading -> closing (nothing more is sent) -> lingering (reads on a moment) -> closed
"""

from __future__ import annotations

import math
import os
import socket as stdlib_socket
from contextlib import suppress
from typing import cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState, TaskGroup
from hypercorn.utils import parse_socket_addr

from .h1 import GuardedH11
from .h2 import GuardedH2
from .inbox import ConnectionTasks, Limits

OVERRUN_S = 1.0  # how long the bytes of the next requests may wait for an answer to end
READ_BYTES = 64 * 1024

log = structlog.get_logger(__name__)


class Connection:
    """Serves one client; `run` returns when the connection is closed and its handlers ended."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        limits: Limits,
        state: LifespanState,
        stream: trio.SocketStream,
    ) -> None:
        self.app = app
        self.config = config
        self.context = context
        self.limits = limits
        self.state = state
        self.stream = stream
        self.protocol: GuardedH11 | GuardedH2
        self.idle = True  # nothing is being answered
        self._idle_until = trio.current_time() + limits.keep_alive_s
        self._closing = False
        self._reading: trio.CancelScope | None = None
        self._send_lock = trio.Lock()
        self._head = b""  # of an answer: it leaves with the first bytes of the body, in one segment

    def __repr__(self) -> str:
        state = "closing" if self._closing else "idle" if self.idle else "busy"
        return f"<Connection {state}>"

    def wake(self) -> None:
        """Let the reader look again whether it should still read."""
        if self._reading is not None:
            self._reading.cancel()

    def abort(self) -> None:
        """Close the socket under everybody: each send and receive on it ends at once."""
        self._closing = True
        self.stream.socket.close()

    async def run(self) -> None:
        """Serve until either side closes; raises nothing of the client's making."""
        try:
            async with trio.open_nursery() as nursery:
                self._start_protocol(nursery)
                await self._read()
                # From here on the client is gone. Handlers have been told; one that does not
                # listen is cancelled.
                nursery.cancel_scope.deadline = trio.current_time() + self.limits.handler_s
                await self.protocol.handle(Closed())
                await self._linger()
                self.stream.socket.close()
        except Exception as error:
            # One client must not end the server: Hypercorn lets this through to the accept loop.
            if not _is_socket_trouble(error):
                log.exception("connection failed")
        finally:
            self.stream.socket.close()

    def _start_protocol(self, nursery: trio.Nursery) -> None:
        sock = self.stream.socket
        self._parts = (
            self.app,
            self.config,
            self.context,
            cast(TaskGroup, ConnectionTasks(nursery)),  # the protocols only spawn
            ConnectionState(dict(self.state)),
            False,  # no TLS: that is the business of a proxy in front
            parse_socket_addr(sock.family, sock.getpeername()),
            parse_socket_addr(sock.family, sock.getsockname()),
            self._send,
        )
        self.protocol = GuardedH11(*self._parts)
        self.protocol.guard(self.limits)

    async def _read(self) -> None:
        while not self._closing:
            if self.idle and self.protocol.paused:
                await self.protocol.resume()
                continue
            if self.idle and self.context.terminated.is_set():
                if isinstance(self.protocol, GuardedH2):
                    await self.protocol.goodbye()
                return
            with trio.CancelScope() as self._reading:
                self._reading.deadline = self._idle_until if self.idle else math.inf
                if self._overrun:
                    # The next upload often begins a moment before the answer is quite done with.
                    self._reading.deadline = trio.current_time() + OVERRUN_S
                    await trio.sleep_forever()
                try:
                    data = await self.stream.receive_some(READ_BYTES)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            if self._reading.cancelled_caught:
                if self._overrun and not self.idle:
                    self._close_soon()  # unread bytes would hide that the client has left
                    return
                if self.idle and trio.current_time() >= self._idle_until:
                    await self._timed_out()
                    return
                continue
            await self._handle(bytes(data))
            if not data:
                return

    @property
    def _overrun(self) -> bool:
        return isinstance(self.protocol, GuardedH11) and self.protocol.overrun

    async def _handle(self, data: bytes) -> None:
        try:
            await self.protocol.handle(RawData(data))
        except H2ProtocolAssumedError as error:
            self.protocol = GuardedH2(*self._parts)
            self.protocol.guard(self.limits)
            await self.protocol.initiate()
            await self.protocol.handle(RawData(error.data))

    async def _timed_out(self) -> None:
        if isinstance(self.protocol, GuardedH2):
            await self.protocol.goodbye()
        elif self.protocol.mid_request:
            await self.protocol.refuse(408)

    async def _send(self, event: Event) -> None:
        """What the protocol wants: bytes out, the connection closed, or the idle clock moved."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Updated):
            self.idle = event.idle
            if event.idle:
                self._idle_until = trio.current_time() + self.limits.keep_alive_s
                if self._reading is not None:
                    self._reading.deadline = self._idle_until
                if self.protocol.paused or self.context.terminated.is_set():
                    self.wake()
            elif self._reading is not None:
                self._reading.deadline = math.inf
        elif isinstance(event, Closed):
            # No checkpoint: this often runs in a request that is already cancelled.
            if self._head:
                self._head = self._write_at_once(self._head)
            self._close_soon()
            await self.protocol.handle(event)

    async def _write(self, data: bytes) -> None:
        if isinstance(self.protocol, GuardedH11) and self.protocol.heading:
            self._head = data
            return
        if self._head:
            data, self._head = self._head + data, b""
        if self._closing or not data:  # the end of a body of known length has no bytes
            await trio.lowlevel.checkpoint()
            return
        if not self._send_lock.locked():
            data = self._write_at_once(data)
            if not data:  # nearly always: buffers have room, and nobody had to be asked to wait
                await trio.lowlevel.cancel_shielded_checkpoint()
                return
        # Shielded, because a frame is sent whole or not at all, also when its request is
        # cancelled. The deadline is set once it is our turn: others' waits are not our client's.
        with trio.CancelScope(shield=True) as scope:
            async with self._send_lock:
                scope.deadline = trio.current_time() + self.limits.write_s
                try:
                    await self.stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._close_soon()
        if scope.cancelled_caught:
            self.abort()
        if self._closing:
            await self.protocol.handle(Closed())

    def _write_at_once(self, data: bytes) -> bytes:
        """Hand the kernel what it takes now; return the rest.

        A third of the cost of a scope, a lock and two turns of the loop, for each chunk of each
        answer. What is wrong with the socket is told by the write that follows.
        """
        try:
            return data[os.write(self.stream.socket.fileno(), data) :]
        except OSError:  # the buffer is full, or the client has gone
            return data

    def _close_soon(self) -> None:
        self._closing = True
        with suppress(OSError):
            self.stream.socket.shutdown(stdlib_socket.SHUT_WR)
        self.wake()

    async def _linger(self) -> None:
        """Read and forget what an unread upload still sends.

        A socket that is closed over unread bytes resets the connection, and the reset can
        overtake the answer that says why (RFC 9112, 9.6).
        """
        if not self._closing:
            return
        with (
            trio.move_on_after(self.limits.linger_s),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            while await self.stream.receive_some(READ_BYTES):
                pass


def _is_socket_trouble(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_socket_trouble(inner) for inner in error.exceptions)
    return isinstance(error, OSError)
