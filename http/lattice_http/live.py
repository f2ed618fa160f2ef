"""Streams that are entered before their headers are sent, and left whatever happens.

`EnteredFirst` enters the body before it sends `http.response.start`. Until the first token (or
`keepalive_s`, whichever is first) a failure is therefore a real status, and the time spent in the
queue stands in the headers. After that a failure is the last chunk of the stream.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import attrs
import trio
from hypercorn.typing import ASGISendCallable
from quart import Response
from quart.wrappers.response import ResponseBody
from quart_trio.asgi import TrioASGIHTTPConnection

from .errors import telling
from .sse import STREAM_HEADERS


@attrs.define(eq=False)
class LiveBody(ResponseBody):
    """A body that is entered before its response starts. What it holds is on a stack of its own."""

    _said_all: bool = attrs.field(init=False, default=False)
    _stack: AsyncExitStack = attrs.field(init=False, factory=AsyncExitStack)

    @property
    @abstractmethod
    def _keepalive_s(self) -> float:
        """How long it may be silent."""

    @abstractmethod
    async def _open(self, stack: AsyncExitStack, until: float) -> None:
        """Wait for the first token, until *until*; *stack* gets what is held. Raises."""

    @abstractmethod
    def _left(self) -> None:
        """The client has gone before all was said."""

    @abstractmethod
    def headers(self) -> list[tuple[str, str]]:
        """Return what is known of the answer once it is entered."""

    @abstractmethod
    def refusal(self, error: BaseException) -> Response:
        """Return the answer where entering it failed."""

    @abstractmethod
    async def __anext__(self) -> bytes:
        """Return the next frames."""

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._open(stack, self._keepalive_at)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(  # type: ignore[override]  # all three are None at the usual end
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if not self._said_all:
            self._left()
        return await self._stack.__aexit__(kind, error, traceback)

    @property
    def _keepalive_at(self) -> float:
        """When it has been silent for too long from now, Trio seconds."""
        return trio.current_time() + self._keepalive_s


def live_response(body: LiveBody) -> Response:
    """Return the response that streams *body*."""
    response = Response(body, headers=STREAM_HEADERS)
    response.timeout = None  # a stream has its own clocks; Quart's would cut it without a word
    return response


class _AlreadyEntered(ResponseBody):
    """What the response is sent with: entering it again does nothing, leaving it neither."""

    def __init__(self, body: LiveBody) -> None:
        self._body = body

    async def __aenter__(self) -> LiveBody:
        return self._body

    async def __aexit__(self, *exc: object) -> None:
        pass


class EnteredFirst(TrioASGIHTTPConnection):
    """Quart-Trio's connection, with live bodies entered before their headers are sent."""

    async def _send_response(self, send: ASGISendCallable, response: Response) -> None:  # type: ignore[override]
        body = getattr(response, "response", None)
        if not isinstance(body, LiveBody):
            await super()._send_response(send, response)
            return
        try:
            async with body:
                response.headers.extend(body.headers())
                response.response = _AlreadyEntered(body)
                await super()._send_response(send, response)
        except Exception as group:
            error = telling(group)
            if response.response is not body:
                raise  # the status is out, and the body has no words for this
            await super()._send_response(send, body.refusal(error))
