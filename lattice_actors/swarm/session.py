"""One swarm at work: it lives in its request, and everything it began ends with it.

    async with open_swarm(ask, host, admission) as session:
        while ...:
            for event in await session.receive(): ...

Its branches are child tasks, each in a cancel scope of its own. The session holds nothing of an
engine: tickets enter as a gang, and each branch takes and gives back its own grant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.errors import LatticeError

from .asks import Debate, Ensemble, Limits, Pipeline, SwarmAsk
from .branch import Branch
from .crew import Crew
from .debate import Debating
from .events import Event, Outcome
from .fanout import Fanout
from .feed import Feed
from .host import Admission, Host
from .pipeline import run_pipeline


@attrs.define(eq=False)
class SwarmSession:
    """What the reader of one swarm holds."""

    _ask: SwarmAsk
    _crew: Crew
    _feed: Feed
    _limits: Limits

    async def receive(self) -> list[Event]:
        """Return what has happened, at least one event; an `Outcome` is always the last.

        Raises:
            SwarmFailed: there is no answer; its rows say why.
            QueueRefused: there was no room for the whole swarm. Nothing has run.
            BadRequest, NoModels: nobody can be asked, or too many. Nothing has run.
            LatticeError: the session was ended from outside (`fail`), or its reader is too slow.
            trio.EndOfChannel: after the `Outcome`.
        """
        return await self._feed.receive()

    def branch_of(self, ticket: Ticket) -> Branch | None:
        """Return the branch that waits or runs with *ticket*; None: it is a judge's."""
        return self._crew.branch_of(ticket)

    def cancel_branch(self, number: int) -> bool:
        """Stop one branch; False when no such branch waits or runs. The others go on."""
        return self._crew.stop(number)

    def fail(self, error: LatticeError) -> None:
        """End all of it with *error*, from outside; what is unread still comes first."""
        self._feed.fail(error)
        self._feed.work.cancel(reason=error.message)

    async def run(self) -> None:
        """Do the work, until the feed has its last event."""
        with self._feed.work:
            try:
                self._feed.tell(await self._conduct())
            except LatticeError as error:
                self._feed.fail(error)

    async def _conduct(self) -> Outcome:
        match self._ask:
            case Ensemble() as ask:
                return await Fanout(ask, self._crew).run(self._limits)
            case Pipeline() as ask:
                return await run_pipeline(ask, self._crew)
            case Debate() as ask:
                return await Debating(ask, self._crew).run(self._limits)
            case _:
                assert_never(self._ask)


@asynccontextmanager
async def open_swarm(
    ask: SwarmAsk, host: Host, admission: Admission, limits: Limits | None = None
) -> AsyncIterator[SwarmSession]:
    """Start a swarm; its first word, an error too, comes from `receive`. Leaving cancels it."""
    feed = Feed()
    session = SwarmSession(ask, Crew(host, admission, feed), feed, limits or Limits())
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        try:
            yield session
        except Exception as error:  # noqa: BLE001 - raised below, outside of a group
            failure = error
        finally:
            nursery.cancel_scope.cancel(reason="the swarm is over")
    if failure is not None:
        raise failure
