"""A streamed swarm, entered before its response starts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs
import structlog
from quart import Response
from werkzeug.datastructures import Headers

from lattice_actors.errors import LatticeError
from lattice_actors.swarm.events import BranchDone, Event, Outcome
from lattice_actors.swarm.failure import SwarmFailed
from lattice_http import sse
from lattice_http.errors import ErrorAnswer, error_object, error_response, telling
from lattice_http.headers import header_value
from lattice_http.live import LiveBody

from .exchange import SwarmExchange
from .frames import SwarmFrames
from .headers import swarm_headers
from .rows import error_kinds, failure

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class SwarmStream(LiveBody):
    """The life of one streamed swarm."""

    exchange: SwarmExchange
    _frames: SwarmFrames
    created: int  # Unix time
    _first: list[Event] | None = attrs.field(init=False, default=None)  # not written yet
    _begun: bool = attrs.field(init=False, default=False)

    @property
    def _keepalive_s(self) -> float:
        return self.exchange.swarms.gateway.settings.keepalive_s

    async def _open(self, stack: AsyncExitStack, until: float) -> None:
        events = await self.exchange.open(stack, until)
        self._first = self._shown(events)
        # What this client is not told, and branches that fail at once, are no answer yet: the
        # whole may still become a status, and the winner may still be named in a header.
        while events is not None and all(map(_has_failed, self._first)):
            events = await self.exchange.receive(until)
            self._first += self._shown(events)

    def _left(self) -> None:
        self.exchange.close("client_left")

    def headers(self) -> list[tuple[str, str]]:
        """Return what is known when the first answer has begun."""
        return swarm_headers(self.exchange)

    def refusal(self, error: BaseException) -> Response:
        """Return the answer where no branch has begun to answer."""
        status, headers, body = failed_answer(self.exchange, error, self.created)
        return Response(body, status, headers=Headers(headers))

    async def __anext__(self) -> bytes:
        if self._said_all:
            raise StopAsyncIteration
        if not self._begun:
            self._begun = True
            first, self._first = self._first or (), None
            return self._frames.begin() + self._write(first) or sse.comment(self._waiting_for())
        until = self._keepalive_at
        try:
            while True:
                events = await self.exchange.receive(until)
                if events is None:
                    return sse.comment(self._waiting_for())
                if frames := self._write(events):  # not every event is told to everybody
                    return frames
        except Exception as error:  # noqa: BLE001 - the status is out: the stream must say it
            return self._fail(telling(error))

    def _shown(self, events: Sequence[Event] | None) -> list[Event]:
        return [event for event in events or () if self._frames.shows(event)]

    def _write(self, events: Sequence[Event]) -> bytes:
        frames = b"".join(map(self._frames.write, events))
        if any(isinstance(event, Outcome) for event in events):
            self._said_all = True
            frames += sse.comment(self.exchange.close("ok")) + sse.DONE
        return frames

    def _fail(self, error: BaseException) -> bytes:
        request_id = self.exchange.caller.request_id
        if not isinstance(error, LatticeError):
            log.error("swarm failed", request_id=request_id, exc_info=error)
        said = error_object(error, request_id)
        self._said_all = True
        self.exchange.close(said["code"])
        body = {"error": said, **_beside(self.exchange, error, self.created)}
        return self._frames.error(body) + sse.DONE

    def _waiting_for(self) -> str:
        over = len(self.exchange.rows)
        return "queued" if self.exchange.queued else f"branches that are over: {over}"


def failed_answer(exchange: SwarmExchange, error: BaseException, created: int) -> ErrorAnswer:
    """Return the answer to a swarm that failed as a whole, and note it in the log."""
    error = telling(error)
    caller, settings = exchange.caller, exchange.swarms.gateway.settings
    if not isinstance(error, LatticeError):
        log.error("swarm failed", request_id=caller.request_id, exc_info=error)
    answer = error_response(
        error,
        caller.request_id,
        jitter_s=settings.queue_retry_jitter_s,
        beside=_beside(exchange, error, created),
    )
    exchange.close(getattr(error, "code", "internal_error"))
    answer.headers.append(("X-Swarm-Session", exchange.id))
    if isinstance(error, SwarmFailed):
        answer.headers.append(("X-Swarm-Strategy", exchange.strategy))
        answer.headers.append(("X-Swarm-Error-Kinds", header_value(error_kinds(error))))
    return answer


def _has_failed(event: Event) -> bool:
    return isinstance(event, BranchDone) and not event.row.ok


def _beside(exchange: SwarmExchange, error: BaseException, created: int) -> dict[str, Any]:
    if isinstance(error, SwarmFailed):
        return failure(exchange.asked.ask, error, created)
    return {}
