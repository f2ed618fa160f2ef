"""HTTP/1.1: a pipelined request never hides that the client has left."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, Data, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import (
    STREAM_ID,
    H2ProtocolAssumedError,
    H11Protocol,
    H11WSConnection,
)
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    Scope,
)

from .inbox import Limits
from .websocket import GuardedWebSocket, is_websocket_upgrade

REASONS = {
    400: "the request is not valid HTTP/1.1",
    408: "the request did not arrive in time",
    413: "the request is too large",
    431: "the request line and headers are too large",
    501: "the transfer encoding is not supported",
}


class GuardedH11(H11Protocol):
    """`H11Protocol` that never waits inside the parser, and answers its errors in JSON.

    While an answer is on its way the bytes of the next request stay in h11's buffer and the
    connection is read on; `resume` parses them when the answer is out.
    """

    app: AppWrapper
    limits: Limits
    paused = False
    heading = False  # what is being written is the head of an answer; more follows at once
    _ahead = 0  # bytes read while paused

    def guard(self, limits: Limits) -> None:
        """Put the guards in; called once, before the first byte."""
        self.limits = limits
        self._app = self.app
        self.app = self._call_app

    @property
    def overrun(self) -> bool:
        """More of the next requests has been read than is kept while one is being answered."""
        return self.paused and self._ahead > self.limits.pipelined_bytes

    @property
    def mid_request(self) -> bool:
        """A part of a request has arrived, and nothing is being answered."""
        return self.stream is None and bool(self.connection.trailing_data[0])

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData) and self.paused:
            self._ahead += len(event.data)
        await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        self.heading = isinstance(event, Response)
        try:
            await super().stream_send(event)
        finally:
            self.heading = False

    async def resume(self) -> None:
        """Parse what arrived behind the request that has now been answered."""
        await self._handle_events()

    async def refuse(self, status: int) -> None:
        """Answer what cannot be parsed, and close."""
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self.send(Closed())

    async def _handle_events(self) -> None:
        while True:
            try:
                event: Any = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self.refuse(error.error_status_hint)
                break
            if event is not h11.PAUSED:
                self.paused, self._ahead = False, 0  # the parser goes on, whoever called it
            if isinstance(event, h11.Request):
                await self.send(Updated(idle=False))
                await self._check_protocol(event)
                await self._create_stream(event)
            elif event is h11.PAUSED:
                # Hypercorn waits here for the answer, and so never reads the FIN behind the
                # pipelined bytes.
                self.paused = True
                break
            elif (
                isinstance(event, h11.ConnectionClosed)
                or event is h11.NEED_DATA
                or self.stream is None
            ):
                break
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            elif isinstance(event, Data):
                await self.stream.handle(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        # Only prior knowledge leads to HTTP/2. `Upgrade: h2c` is gone from the standard (RFC 9113,
        # 3.1), smuggles requests past proxies, and may be ignored.
        if event.method == b"PRI" and event.target == b"*" and event.http_version == b"2.0":
            raise H2ProtocolAssumedError(
                b"PRI * HTTP/2.0\r\n\r\n" + self.connection.trailing_data[0]
            )

    async def _create_stream(self, request: h11.Request) -> None:
        make: Callable[..., HTTPStream | GuardedWebSocket] = HTTPStream
        if is_websocket_upgrade(request):
            make = GuardedWebSocket
            assert isinstance(self.connection, h11.Connection)
            self.connection = H11WSConnection(self.connection)
        self.stream = make(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        if isinstance(self.stream, GuardedWebSocket):
            self.stream.guard(self.limits)
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def _call_app(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        async def receive_on_demand() -> ASGIReceiveEvent:
            # "100 Continue" asks for the body. Said only once somebody wants it, a refusal
            # (401, 413) costs no upload.
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))
            return await receive()

        if self.connection.they_are_waiting_for_100_continue:
            await self._app(scope, receive_on_demand, send, sync_spawn, call_soon)
        else:
            await self._app(scope, receive, send, sync_spawn, call_soon)

    async def _send_error_response(self, status_code: int) -> None:
        message = REASONS.get(status_code, REASONS[400])
        body = json.dumps(
            {
                "error": {
                    "message": message,
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "bad_http",
                }
            }
        ).encode()
        await self._send_h11_event(
            h11.Response(
                status_code=status_code,
                headers=[
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(body)),
                    (b"connection", b"close"),
                    (b"x-content-type-options", b"nosniff"),
                    *self.config.response_headers("h11"),
                ],
            )
        )
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
