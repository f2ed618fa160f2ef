"""WebSockets: no deflate bombs, and no socket that stays open for a client that is not there."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import h11
import trio
from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.typing import ASGISendEvent
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from .inbox import Limits


def is_websocket_upgrade(request: h11.Request) -> bool:
    """Whether the client asks to leave HTTP for a WebSocket (RFC 6455, 4.2.1)."""
    headers = dict(request.headers)
    tokens = headers.get(b"connection", b"").lower().split(b",")
    return (
        request.method.upper() == b"GET"
        and headers.get(b"upgrade", b"").strip().lower() == b"websocket"
        and any(token.strip() == b"upgrade" for token in tokens)
    )


class GuardedWebSocket(WSStream):
    """`WSStream` without permessage-deflate, which ends every socket by a deadline."""

    limits: Limits
    _over: trio.Event  # the connection is closed
    _heard = True  # something arrived since the last ping

    def guard(self, limits: Limits) -> None:
        """Put the guards in; called once, before the first event."""
        self.limits = limits
        self._over = trio.Event()

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """As Hypercorn's, but a text that goes to many sockets is framed once."""
        text = message.get("text") if message and message["type"] == "websocket.send" else None
        if not isinstance(text, str) or self.state is not ASGIWebsocketState.CONNECTED:
            await super().app_send(message)
        elif not self.closed and self.connection.state is ConnectionState.OPEN:
            await self.send(Data(stream_id=self.stream_id, data=_text_frame(text)))

    async def handle(self, event: Event) -> None:
        if isinstance(event, Request):
            # Hypercorn accepts deflate whenever it is offered: 300 KB then inflate to 340 MB
            # before the message limit is looked at. So it never sees the offer.
            headers = [
                (name, value)
                for name, value in event.headers
                if name.lower() != b"sec-websocket-extensions"
            ]
            event = _with_headers(event, headers)
        elif isinstance(event, (Body, Data)):
            self._heard = True
        try:
            await super().handle(event)
        except RemoteProtocolError:
            await self._end(CloseReason.PROTOCOL_ERROR)
        finally:
            if self.closed:
                self._over.set()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    await self._end(CloseReason.MESSAGE_TOO_BIG)
                    return
                if event.message_finished and not await self._deliver():
                    await self._end(CloseReason.TRY_AGAIN_LATER)
                    return
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state == ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def _deliver(self) -> bool:
        """Hand the message over; False when the handler has taken nothing for too long."""
        message: Any = self.buffer.to_message()
        self.buffer.clear()
        assert self.app_put is not None
        with trio.move_on_after(self.limits.websocket_stall_s) as stalled:
            await self.app_put(message)
        return not stalled.cancelled_caught

    async def _end(self, code: CloseReason) -> None:
        """Say why, and close the connection too: Hypercorn leaves that to the client."""
        await self._send_wsproto_event(CloseConnection(code=code))
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        while not self.closed:
            self._heard = False
            await self._send_wsproto_event(Ping())
            # Not a plain sleep: the connection would wait for it after the socket's end.
            with trio.move_on_after(self.limits.websocket_pong_s):
                await self._over.wait()
            if not self._heard and not self.closed:
                await self._end(CloseReason.GOING_AWAY)


@lru_cache(maxsize=8)
def _text_frame(text: str) -> bytes:
    """Return *text* as one frame. A server's frames have no mask, so all sockets' are the same."""
    payload = text.encode()
    if len(payload) < 126:
        return struct.pack("!BB", 0x81, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, len(payload)) + payload
    return struct.pack("!BBQ", 0x81, 127, len(payload)) + payload


def _with_headers(event: Request, headers: list[tuple[bytes, bytes]]) -> Request:
    return Request(
        stream_id=event.stream_id,
        headers=headers,
        http_version=event.http_version,
        method=event.method,
        raw_path=event.raw_path,
        state=event.state,
    )
