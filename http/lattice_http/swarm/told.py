"""Admission as one swarm uses it: each answer is told to the metrics, with its queue and tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import Route
from lattice_actors.metrics.news import Arrived, News, Over, Part, Resolved
from lattice_actors.swarm.host import Admission
from lattice_http.errors import error_object, family, telling


@attrs.frozen
class Telling:
    """What there is to say of one answer before it begins."""

    spec: str  # the name as sent
    route: Route
    part: Part


@attrs.define(eq=False)
class ToldAdmission:
    """Is a `lattice_actors.swarm.host.Admission`."""

    _admission: Admission
    _tell: Callable[[News], None]
    _about: Callable[[Ticket], Telling]
    _route: str  # method and path of the request that asks the swarm
    _stream: bool
    _count: int = attrs.field(init=False, default=0)

    def gang(
        self, now: Sequence[Ticket], later: Sequence[Ticket]
    ) -> AbstractAsyncContextManager[object]:
        """Enter all tickets as one; what becomes of each is told by `grant`."""
        return self._admission.gang(now, later)

    def eligible(self, ticket: Ticket) -> None:
        """Let a ticket of a later round or of the judge have its turn."""
        self._admission.eligible(ticket)

    @asynccontextmanager
    async def grant(self, ticket: Ticket) -> AsyncIterator[float]:
        """Tell that it waits, and how it ended; while it runs it is looked at."""
        about, now = self._about(ticket), trio.current_time()
        self._count += 1
        # Its number makes the id one of its own, beside those of the other branches.
        key = (f"{ticket.request_id}~{self._count}", now)
        self._tell(Arrived(key, ticket.key, about.spec, self._stream, part=about.part))
        klass = ticket.klass.value
        route = about.route
        told = Resolved(key, now, route.model, route.backend, klass, route.resolution, (ticket,))
        self._tell(told)
        status: int | None = None
        outcome, message = "stopped", ""  # cancelled: nobody wants it any more
        try:
            async with self._admission.grant(ticket) as waited_s:
                yield waited_s
            status, outcome = 200, "ok"
        except Exception as group:
            error = telling(group)
            said = error_object(error)
            status, outcome, message = family(error)[0], said["code"], said["message"]
            raise
        finally:
            at = trio.current_time()
            self._tell(Over(key, at, self._route, status, outcome, ticket.key, message))
