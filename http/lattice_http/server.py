"""The serve loop: listen, accept, end in order. Stands on Hypercorn's protocol classes.

Plain `hypercorn.trio.serve` has defects that a client can reach (docs/design/0005-serve-loop.md);
the connection itself is `guards.Connection`. Written against Hypercorn 0.18.

    bind -> app start-up -> accept .. shutdown set -> answers run on -> cut off -> app shut-down
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress

import attrs
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import LifespanState

from .asgi import ASGIApp
from .door import Door
from .guards import Connection, Limits
from .listening import AddressInUse, CannotBind, bind, connection_cap, raise_fd_limit
from .server_log import ServerLog

__all__ = ["AddressInUse", "CannotBind", "ServeOptions", "serve"]

FD_RETRY_S = 0.1  # how long not to accept when the system has no descriptor left
LINGERING_REFUSALS = 32  # refused clients that are read on for a moment; others are just closed
MAX_HEAD_BYTES = 48 * 1024  # unparsed request line and headers: above the 40 KiB that get a 4xx
CAPACITY_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

log = structlog.get_logger(__name__)


@attrs.frozen
class ServeOptions:
    """Times in seconds. A `write_timeout_s` below `graceful_timeout_s` keeps a stop punctual."""

    host: str = "127.0.0.1"
    port: int = 5001  # 0: any free one
    graceful_timeout_s: float = 30.0  # from shutdown until what still runs is cut off
    keep_alive_timeout_s: float = 15.0  # also how long a request's headers may take to arrive
    write_timeout_s: float = 5.0  # a client that takes nothing for this long is cut off
    max_connections: int = 1000  # fewer when the limit on open files is lower
    max_per_address: int = 64  # loopback is exempt: proxies and benchmarks share an address
    backlog: int = 2048  # Hypercorn's 100 costs clients retries of a second under a rush
    h2_max_concurrent_streams: int = 64
    websocket_max_message_bytes: int = 1024 * 1024
    websocket_ping_interval_s: float = 20.0  # and the time an answer may take
    linger_s: float = 0.5  # reading on behind a refused upload, so that the refusal arrives

    def limits(self) -> Limits:
        """What one connection may cost."""
        return Limits(
            keep_alive_s=self.keep_alive_timeout_s,
            write_s=self.write_timeout_s,
            linger_s=self.linger_s,
            websocket_pong_s=self.websocket_ping_interval_s,
        )

    def config(self) -> Config:
        """Hypercorn's settings, where its protocol classes look them up."""
        config = Config()
        config.graceful_timeout = self.graceful_timeout_s
        config.include_server_header = False
        # A thousand requests are minutes for an agent, and HTTP/2's way of enforcing this count
        # cuts off the answers that run.
        config.keep_alive_max_requests = 2**62
        config.h11_max_incomplete_size = MAX_HEAD_BYTES
        config.h2_max_concurrent_streams = self.h2_max_concurrent_streams
        config.h2_max_header_list_size = MAX_HEAD_BYTES
        config.websocket_max_message_size = self.websocket_max_message_bytes
        config.websocket_ping_interval = self.websocket_ping_interval_s
        config.logger_class = ServerLog
        return config


@attrs.define(eq=False)
class _Running:
    """The connections of one server."""

    connect: Callable[[trio.SocketStream], Connection]
    door: Door
    connections: set[Connection] = attrs.field(init=False, factory=set[Connection])
    _refusals: int = attrs.field(init=False, default=0)
    _none_left: trio.Event = attrs.field(init=False, factory=trio.Event)

    async def accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Take connections until cancelled; each is served in *nursery*."""
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in CAPACITY_ERRNOS:
                    raise
                log.warning("cannot accept a connection", reason=error.strerror)
                await trio.sleep(FD_RETRY_S)
                continue
            nursery.start_soon(self._serve_one, stream)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        try:
            address = str(stream.socket.getpeername()[0])
        except OSError:  # left again before it was its turn
            stream.socket.close()
            return
        refused = self.door.enter(address)
        if refused is not None:
            await self._refuse(stream, refused.answer)
            return
        connection = self.connect(stream)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
            self.door.leave(address)
            if not self.connections:
                self._none_left.set()

    async def _refuse(self, stream: trio.SocketStream, answer: bytes) -> None:
        lingers = self._refusals < LINGERING_REFUSALS
        self._refusals += 1
        try:
            with trio.move_on_after(Limits().linger_s), suppress(trio.BrokenResourceError):
                await stream.send_all(answer)
                await stream.send_eof()
                # Closing over an unread request would reset the connection under the answer.
                while lingers and await stream.receive_some(65536):
                    pass
        finally:
            self._refusals -= 1
            stream.socket.close()

    async def drained(self, grace_s: float, cut: trio.Event | None) -> None:
        """Wait until every answer is out, or the grace is over, or *cut* is set."""
        self._none_left = trio.Event()
        for connection in list(self.connections):
            connection.wake()
        if not self.connections:
            return
        with trio.move_on_after(grace_s):
            async with trio.open_nursery() as nursery:
                if cut is not None:
                    nursery.start_soon(_cancel_at, cut, nursery.cancel_scope)
                await self._none_left.wait()
                nursery.cancel_scope.cancel(reason="every answer is out")

    def abort(self) -> int:
        """Close every socket; return how many were in the middle of an answer."""
        busy = sum(not connection.idle for connection in self.connections)
        for connection in list(self.connections):
            connection.abort()
        return busy


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel(reason="cut off")


async def serve(
    app: ASGIApp,
    options: ServeOptions,
    *,
    shutdown: trio.Event,
    cut: trio.Event | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve *app* until *shutdown* is set, then let running answers end within the grace.

    Reports the addresses it listens on once connections are taken. *cut* ends the grace early.
    Returns how many connections had to be cut off in the middle of an answer.

    Raises:
        AddressInUse: another program listens on the port; raised before the app starts.
        CannotBind: the address is not ours, or not allowed.
    """
    fd_limit = raise_fd_limit()
    sockets = await bind(options.host, options.port)
    config, context, limits = options.config(), WorkerContext(None), options.limits()
    state: LifespanState = {}
    wrapped = ASGIWrapper(app)
    running = _Running(
        lambda stream: Connection(wrapped, config, context, limits, state, stream),
        Door(connection_cap(options.max_connections, fd_limit), options.max_per_address),
    )
    lifespan = Lifespan(wrapped, config, state)
    cut_off = 0
    try:
        async with trio.open_nursery() as lifespan_nursery:
            await lifespan_nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            async with trio.open_nursery() as handlers:
                try:
                    async with trio.open_nursery() as accepting:
                        for sock in sockets:
                            sock.listen(options.backlog)
                            listener = trio.SocketListener(sock)
                            accepting.start_soon(running.accept, listener, handlers)
                        task_status.started([sock.getsockname()[:2] for sock in sockets])
                        await shutdown.wait()
                        accepting.cancel_scope.cancel(reason="the server stops")
                    for sock in sockets:
                        sock.close()
                    await context.terminated.set()
                    await running.drained(options.graceful_timeout_s, cut)
                finally:
                    # Sends are shielded, so only a closed socket ends one that hangs.
                    cut_off = running.abort()
                    handlers.cancel_scope.cancel(reason="the grace is over")
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel(reason="the server has stopped")
    finally:
        for sock in sockets:
            sock.close()
    return cut_off
