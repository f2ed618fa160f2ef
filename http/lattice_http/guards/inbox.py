"""Where the messages of one request wait for the app, and the tasks of one connection.

Hypercorn's own inbox is a channel of ten: a full one also keeps out the news that the client has
left, and a sender to an app that has ended waits in it for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import _handle
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

UNREAD_MESSAGES = 10  # of at most 64 KiB each; then the connection is not read any further


@attrs.frozen
class Limits:
    """What one connection may cost. Times in seconds, on the Trio clock."""

    keep_alive_s: float = 15.0  # without a request, from accept or from the last answer
    write_s: float = 5.0  # a client that takes nothing for this long has gone
    linger_s: float = 0.5  # reads on after the answer to an unread upload, so that it arrives
    handler_s: float = 5.0  # what a handler may take to end after its client has left
    websocket_stall_s: float = 5.0  # a socket handler that takes no message for this long
    websocket_pong_s: float = 20.0  # between pings; silent from one to the next: gone
    pipelined_bytes: int = 64 * 1024  # sent ahead of the answer; more closes the connection
    h2_resets: int = 200  # streams a client may reset in `h2_resets_s` (rapid reset attack)
    h2_resets_s: float = 10.0


@attrs.define(eq=False)
class Inbox:
    """Messages for one app call, oldest first. A disconnect is always taken, however full it is."""

    _waiting: deque[ASGIReceiveEvent] = attrs.field(init=False, factory=deque[ASGIReceiveEvent])
    _gone: ASGIReceiveEvent | None = attrs.field(init=False, default=None)
    _moved: trio.Event = attrs.field(init=False, factory=trio.Event)

    @property
    def left(self) -> bool:
        """The client is gone, or the app is."""
        return self._gone is not None

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Add *message*; wait while ten are unread. After a disconnect, drop it.

        Passes no checkpoint for a disconnect: it is also delivered by a cancelled task.
        """
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.close(message)
            return
        while self._gone is None and len(self._waiting) >= UNREAD_MESSAGES:
            await self._moved.wait()
        if self._gone is None:
            self._waiting.append(message)
            self._wake()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; once the client has left, its disconnect, however often asked."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._gone is not None:
                return self._gone
            await self._moved.wait()
        message = self._waiting.popleft()
        self._wake()
        return message

    def close(self, farewell: ASGIReceiveEvent) -> None:
        """Nobody sends or nobody reads any more: drop what is unread, wake everyone."""
        if self._gone is None:
            self._gone = farewell
            # What a socket's client said before it left is still of use; half a body is not.
            if farewell["type"] == "http.disconnect":
                self._waiting.clear()
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()


@attrs.define(eq=False)
class ConnectionTasks:
    """Hypercorn's task group, over a nursery that the connection owns."""

    _nursery: trio.Nursery

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        inbox = Inbox()
        self._nursery.start_soon(self._run_app, app, config, scope, inbox, send)
        return inbox.put

    def spawn(self, func: Callable[..., Awaitable[object]], *args: object) -> None:
        self._nursery.start_soon(func, *args)

    async def _run_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        inbox: Inbox,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> None:
        if inbox.left:
            return  # asked and left in one breath, as in a rapid reset: not worth a start
        try:
            await _handle(
                app,
                config,
                scope,
                inbox.receive,
                send,
                trio.to_thread.run_sync,
                trio.from_thread.run,
            )
        finally:
            inbox.close({"type": "http.disconnect"})
