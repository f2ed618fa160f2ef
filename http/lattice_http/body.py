"""The streamed answer of one model: a class, not a generator, so that what it holds has an end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import attrs
import structlog
from quart import Response
from werkzeug.datastructures import Headers

from lattice_actors.errors import LatticeError
from lattice_actors.generation import Delta, FinishReason, Usage

from .answering import Event
from .errors import ErrorAnswer, error_object, error_response, telling
from .exchange import Exchange
from .live import LiveBody, live_response

log = structlog.get_logger(__name__)


class Frames(Protocol):
    """How one wire writes its stream. In order: `start`, any of the middle ones, `ended`."""

    def start(self, usage: Usage) -> bytes:
        """The first bytes; of *usage* what is known before the answer."""

    def delta(self, delta: Delta, index: int = 0) -> bytes:
        """A piece of one answer; nothing, where this wire has no words for it."""

    def finish(self, reason: FinishReason, index: int = 0, stop: str = "") -> bytes:
        """The end of one answer; *stop* is the stop string that ended it."""

    def alive(self, text: str) -> bytes:
        """A sign of life while there is nothing to say; *text* says what is waited for."""

    def ended(self, usage: Usage, timing: str) -> bytes:
        """The end of the stream: what all answers took, and where the time went."""

    def error(self, error: dict[str, Any]) -> bytes:
        """The end of a stream that failed, of an error object in OpenAI's shape."""

    @property
    def last(self) -> bytes:
        """What follows the end, good or bad."""


def _as_it_is(answer: ErrorAnswer) -> ErrorAnswer:
    return answer


@attrs.define(eq=False)
class RequestBody(LiveBody):
    """The life of one streamed answer. Entered before the response starts, left whatever happens.

    *make_frames* gets the id of the model, once it is known who answers.
    """

    exchange: Exchange
    _make_frames: Callable[[str], Frames]
    _shape: Callable[[ErrorAnswer], ErrorAnswer] = _as_it_is
    _frames: Frames = attrs.field(init=False)
    _first: list[Event] | None = attrs.field(init=False, default=None)
    _silent: bool = attrs.field(init=False, default=False)  # opened without a token: say why
    _started: bool = attrs.field(init=False, default=False)

    @property
    def _keepalive_s(self) -> float:
        return self.exchange.gateway.settings.keepalive_s

    async def _open(self, stack: AsyncExitStack, until: float) -> None:
        self._first = await self.exchange.open(stack, until)
        self._silent = self._first is None
        self._frames = self._make_frames(self.exchange.model)

    def _left(self) -> None:
        self.exchange.close("client_left")

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the answer."""
        return self.exchange.headers()

    def refusal(self, error: BaseException) -> Response:
        """Return the answer to a request that failed before its first token."""
        exchange = self.exchange
        request_id = exchange.caller.request_id
        if not isinstance(error, LatticeError):
            log.error("request failed", request_id=request_id, exc_info=error)
        jitter_s = exchange.gateway.settings.queue_retry_jitter_s
        status, headers, body = self._shape(error_response(error, request_id, jitter_s=jitter_s))
        exchange.log["outcome"] = getattr(error, "code", "internal_error")
        exchange.log["problem"] = error_object(error)["message"]
        return Response(body, status, headers=Headers(headers))

    async def __anext__(self) -> bytes:
        if self._said_all:
            raise StopAsyncIteration
        first, self._first = self._first, None
        if first is not None:
            return self._write(first)
        try:
            silent, self._silent = self._silent, False
            events = None if silent else await self.exchange.receive(self._keepalive_at)
            if events is None:
                return self._begun() + self._frames.alive(await self._waiting_for())
        except Exception as error:  # noqa: BLE001 - the status is out: the stream must say it
            return self._fail(telling(error))
        return self._write(events)

    async def _waiting_for(self) -> str:
        ticket = self.exchange.routed.tickets[0]
        if ticket.stream.prefill is not None:
            return f"prefill {ticket.stream.prefill.done}/{ticket.stream.prefill.total}"
        try:
            view = await self.exchange.gateway.lattice.admission.view()
        except LatticeError:  # a comment that cannot be made must not end the stream
            return "waiting"
        for waiting in view.waiting:
            if waiting.ticket is ticket:
                return f"queued {waiting.position + 1}, ~{waiting.predicted_wait_s:.0f} s"
        return "waiting for the model"

    def _write(self, events: list[Event]) -> bytes:
        chunks: list[bytes] = [self._begun()]
        for index, event in events:
            if not isinstance(event, Delta):
                chunks.append(self._frames.finish(event.reason, index, event.stop))
            elif event.text or event.logprobs or event.reasoning or event.calls:
                chunks.append(self._frames.delta(event, index))
        if self.exchange.answering.over:
            self._said_all = True
            usage = self.exchange.usage
            chunks += [self._frames.ended(usage, self.exchange.close("ok")), self._frames.last]
        # Nothing: text was held back. Say that we are alive.
        return b"".join(chunks) or self._frames.alive("…")

    def _begun(self) -> bytes:
        """Return what the stream begins with, once."""
        if self._started:
            return b""
        self._started = True
        prefill = self.exchange.routed.tickets[0].stream.prefill
        known = Usage(0, 0) if prefill is None else Usage(prefill.total, 0, prefill.cached or 0)
        return self._frames.start(known)

    def _fail(self, error: BaseException) -> bytes:
        request_id = self.exchange.caller.request_id
        if not isinstance(error, LatticeError):
            log.error("stream failed", request_id=request_id, exc_info=error)
        said = error_object(error, request_id)
        self.exchange.log["problem"] = said["message"]
        self._said_all = True
        self.exchange.close(said["code"])
        return self._begun() + self._frames.error(said) + self._frames.last


def streamed(
    exchange: Exchange,
    make_frames: Callable[[str], Frames],
    shape: Callable[[ErrorAnswer], ErrorAnswer] = _as_it_is,
) -> Response:
    """Return the response that streams the answers; *make_frames* is told the model's id.

    *shape* brings a refusal into the form of another wire than OpenAI's.
    """
    return live_response(RequestBody(exchange, make_frames, shape))
