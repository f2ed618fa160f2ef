"""HTTP/2 with prior knowledge: back-pressure, deadlines, and abuse that ends the connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.events import Body, EndBody, Request
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    H2Protocol,
    StreamBuffer,
)
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import Event as IOEvent
from hypercorn.utils import filter_pseudo_headers

from .inbox import Limits
from .websocket import GuardedWebSocket


class StalledError(Exception):
    """The client's window took nothing for the whole write timeout."""


class GuardedBuffer(StreamBuffer):
    """`StreamBuffer` that looks at what is *left*: Hypercorn's lets a closed window fill memory."""

    def __init__(self, event_class: type[IOEvent], write_s: float) -> None:
        super().__init__(event_class)
        self._write_s = write_s
        self._progress_at = trio.current_time()

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._wait_while_moving(self._paused)

    async def drain(self) -> None:
        await self._wait_while_moving(self._is_empty)

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if data:
            self._progress_at = trio.current_time()
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data

    async def _wait_while_moving(self, event: IOEvent) -> None:
        started = trio.current_time()
        while True:
            deadline = max(started, self._progress_at) + self._write_s
            with trio.move_on_at(deadline) as scope:
                await event.wait()
            if not scope.cancelled_caught:
                return
            if max(started, self._progress_at) + self._write_s <= trio.current_time():
                raise StalledError


class GuardedH2(H2Protocol):
    """`H2Protocol` that survives data for answered streams, stalled windows and rapid resets."""

    limits: Limits
    streams: dict[int, Any]  # of HTTPStream | GuardedWebSocket
    paused = False  # HTTP/2 multiplexes; nothing is ever parsed later

    def guard(self, limits: Limits) -> None:
        """Put the guards in; called once, before the first byte."""
        self.limits = limits
        self._resets: deque[float] = deque()

    @property
    def mid_request(self) -> bool:
        return False

    async def resume(self) -> None:
        """Nothing waits."""

    async def goodbye(self) -> None:
        """Tell the client that nothing more is accepted here; what runs, runs on."""
        with suppress(h2.exceptions.ProtocolError):
            self.connection.close_connection()
            await self._flush()

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            # A sender that waits for a window would wait for ever: no more updates will come.
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def stream_send(self, event: StreamEvent) -> None:
        try:
            await super().stream_send(event)
        except StalledError:
            await self._reset(event.stream_id, h2.errors.ErrorCodes.CANCEL)
            await self._close_stream(event.stream_id)

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                if self.context.terminated.is_set():
                    await self._reset(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
                    continue
                await self.send(Updated(idle=False))
                await self._create_stream(event)
            elif isinstance(event, h2.events.DataReceived):
                await self._data(event)
            elif isinstance(event, h2.events.StreamEnded):
                if event.stream_id in self.streams:
                    await self.streams[event.stream_id].handle(EndBody(event.stream_id))
            elif isinstance(event, h2.events.StreamReset):
                await self._close_stream(event.stream_id)
                await self._window_updated(event.stream_id)
                await self.send(Updated(idle=self.idle))
                if self._too_many_resets():
                    await self._flush()
                    await self.send(Closed())
                    return
            elif isinstance(event, h2.events.WindowUpdated):
                await self._window_updated(event.stream_id)
            elif isinstance(event, h2.events.PriorityUpdated):
                await self._priority_updated(event)
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                if h2.settings.SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                    await self._window_updated(None)
            elif isinstance(event, h2.events.ConnectionTerminated):
                await self.send(Closed())
        await self._flush()

    async def _data(self, event: h2.events.DataReceived) -> None:
        # Hypercorn looks the stream up without asking, and the KeyError of a body that goes on
        # behind its 413 ends the whole server.
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            await stream.handle(Body(stream_id=event.stream_id, data=bytes(event.data or b"")))
        elif event.stream_id not in self.stream_buffers:
            await self._reset(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)
        with suppress(h2.exceptions.ProtocolError):
            self.connection.acknowledge_received_data(
                event.flow_controlled_length or 0, event.stream_id
            )

    async def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(stream_id, code)
        if stream_id in self.stream_buffers:
            await self.stream_buffers[stream_id].close()
            self.priority.unblock(stream_id)
            await self.has_data.set()
        await self._flush()

    def _too_many_resets(self) -> bool:
        now = trio.current_time()
        self._resets.append(now)
        while self._resets[0] < now - self.limits.h2_resets_s:
            self._resets.popleft()
        return len(self._resets) > self.limits.h2_resets

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        headers: list[Any] = list(request.headers or [])
        fields = {name: value for name, value in headers if name[:1] == b":"}
        method = fields.get(b":method", b"").decode("latin1").upper()
        make: Callable[..., Any] = HTTPStream
        if method == "CONNECT" and fields.get(b":protocol") == b"websocket":
            make = GuardedWebSocket
        stream_id = request.stream_id
        assert stream_id is not None
        raw_path = fields.get(b":path", b"*")
        if not raw_path.isascii():
            await self._reset(stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            return
        stream = make(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            stream_id,
        )
        if isinstance(stream, GuardedWebSocket):
            stream.guard(self.limits)
        self.streams[stream_id] = stream
        self.stream_buffers[stream_id] = GuardedBuffer(
            self.context.event_class, self.limits.write_s
        )
        if stream_id in self.priority._streams:  # its PRIORITY frame came first
            self.priority.block(stream_id)
        else:
            self.priority.insert_stream(stream_id)
            self.priority.block(stream_id)
        await stream.handle(
            Request(
                stream_id=stream_id,
                headers=filter_pseudo_headers(headers),
                http_version="2",
                method=method,
                raw_path=raw_path,
                state=self.connection_state,
            )
        )
