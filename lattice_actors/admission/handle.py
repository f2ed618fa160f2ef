"""How the rest of the program speaks to admission: its messages and its handle."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import attrs
import trio

from lattice_actors.engine import frames
from lattice_actors.mailbox import Mailbox, Reply

from .ticket import Gang, Ticket
from .verdicts import Capacity, Class, QueueView

_NUMBERS = itertools.count(1)  # of gangs, for people


class Barring(Protocol):
    """Why a model cannot be had (`residency.restart.Barred`)."""

    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def retry_after_s(self) -> float | None: ...


@attrs.frozen(eq=False)
class Enter:
    """Ask for a grant; the answer is the time spent in the queue, seconds."""

    ticket: Ticket
    reply: Reply[float]


@attrs.frozen(eq=False)
class EnterGang:
    """Let in all of these tickets or none; the answer is only that they are in."""

    branches: tuple[Ticket, ...]
    later: tuple[Ticket, ...]  # held until `Eligible`
    reply: Reply[None]


@attrs.frozen
class Eligible:
    """A ticket of a gang may be granted from now on."""

    ticket: Ticket


@attrs.frozen
class Leave:
    """The request is over, or has gone."""

    ticket: Ticket


@attrs.frozen
class Ended:
    """A backend has said its last word on a ticket."""

    ticket: Ticket


@attrs.frozen
class Ready:
    """A model can run tickets. *measured*: what its engine found out while loading."""

    model: str
    capacity: Capacity
    measured: frames.Ready | None


@attrs.frozen
class Gone:
    """A model's memory is free."""

    model: str


@attrs.frozen
class Failed:
    """A model cannot be had now; whoever waits for it is told why."""

    model: str
    barred: Barring
    streams_run: bool = False  # what was granted goes on


@attrs.frozen
class Loading:
    """The evictor: the load of a model has begun."""

    model: str


@attrs.frozen
class Pardoned:
    """The evictor: a model that failed may be tried again."""

    model: str


@attrs.frozen
class MakeRoom:
    """The evictor: to load *model*, *victims* must go, when their turn is over."""

    model: str
    victims: tuple[str, ...]


@attrs.frozen
class Drain:
    """The evictor: no more grants for *model*, whatever waits."""

    model: str


@attrs.frozen
class Census:
    """A backend's truth, for an incarnation that has lost its memory."""

    model: str
    capacity: Capacity | None  # None: not ready
    running: tuple[Ticket, ...]


@attrs.frozen
class Remind:
    """The evictor has lost its memory: tell it again what is wanted, drained and used."""


@attrs.frozen(eq=False)
class View:
    """What does the queue look like?"""

    reply: Reply[QueueView[Ticket]]


@attrs.frozen
class Fate:
    """How a ticket would fare, if it came now. *load_s* is in *wait_s* where it is needed."""

    klass: Class
    position: int
    wait_s: float
    load_s: float


@attrs.frozen(eq=False)
class Predict:
    """How would this ticket fare?"""

    ticket: Ticket
    reply: Reply[Fate]


@attrs.frozen(eq=False)
class Outlook:
    """How does each model that is known here look to a newcomer?"""

    reply: Reply[dict[str, ModelOutlook]]


@attrs.frozen
class ModelOutlook:
    """A model as the resolver sees it."""

    resident: bool
    idle: bool
    wait_s: float  # predicted, for a request of ordinary size
    load: float = 0.0  # what its server has to do, by the server's weight
    barred: Barring | None = None


Message = (
    Enter
    | EnterGang
    | Eligible
    | Leave
    | Ended
    | Ready
    | Gone
    | Failed
    | Loading
    | Pardoned
    | MakeRoom
    | Drain
    | Census
    | Remind
    | View
    | Predict
    | Outlook
)


@attrs.frozen
class AdmissionHandle:
    """What the rest of the program holds of the admission actor."""

    _mailbox: Mailbox[Message]

    @asynccontextmanager
    async def gang(
        self, now: Sequence[Ticket], later: Sequence[Ticket] = ()
    ) -> AsyncIterator[None]:
        """Let all tickets of a swarm in, or none; inside, each is granted to its own task.

        Those of *now* may be granted from here on, whether or not their task has come for them:
        with a cap on parallel branches, put the others into *later*. Each of *later* keeps a place
        in the queue until `eligible`. On the way out each member that waits is forgotten, and each
        that runs is cancelled.

        Raises:
            QueueRefused: no room for all of them within their patience; says when to come back.
            BadRequest: they never fit, together or one of them.
            ActorStopped: the program ends.
        """
        members = (*now, *later)
        gang = Gang(f"gang-{next(_NUMBERS)}", set(later))
        for ticket in members:
            ticket.gang = gang
        try:
            if members:
                await self._mailbox.ask_anew(partial(EnterGang, tuple(now), tuple(later)))
            yield
        finally:
            for ticket in members:
                self._leave(ticket)

    def eligible(self, ticket: Ticket) -> None:
        """A ticket of *later* may be granted from now on; its job and prompt are final.

        Its wait begins here, and has no budget any more: only its deadline ends it. Nothing for a
        ticket that has left, or was told before.
        """
        if ticket.gang is not None and ticket in ticket.gang.held:
            ticket.gang.held.discard(ticket)
            ticket.arrived = trio.current_time()
            ticket.wait_until = math.inf
            self._mailbox.tell(Eligible(ticket))

    @asynccontextmanager
    async def grant(self, ticket: Ticket) -> AsyncIterator[float]:
        """Hold a slot and a lease; yields the seconds queued. The answer comes on its stream.

        A member of a gang is in the queue already, and only waits for its grant here.

        Raises:
            QueueRefused: no room within the ticket's patience; says when to come back.
            LoadFailed, ModelQuarantined, BadRequest: the model cannot be had, or never for this.
            ActorStopped: the program ends.
        """
        try:
            yield await self._mailbox.ask_anew(lambda reply: Enter(ticket, reply))
        finally:
            # Also when the wait was cancelled: the grant may have crossed the cancellation.
            self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.gang is not None:
            ticket.gang.held.discard(ticket)
        self._mailbox.tell(Leave(ticket))

    async def view(self) -> QueueView[Ticket]:
        """The queue as it is now, for people."""
        return await self._mailbox.ask_anew(View)

    async def predict(self, ticket: Ticket) -> Fate:
        """How *ticket* would fare. No side effects."""
        return await self._mailbox.ask_anew(lambda reply: Predict(ticket, reply))

    async def outlook(self) -> dict[str, ModelOutlook]:
        """Every model that has been wanted so far; one that is missing is cold."""
        return await self._mailbox.ask_anew(Outlook)

    # what backends and the evictor tell

    def ended(self, ticket: Ticket) -> None:
        self._mailbox.tell(Ended(ticket))

    def ready(self, model: str, capacity: Capacity, measured: frames.Ready | None) -> None:
        self._mailbox.tell(Ready(model, capacity, measured))

    def gone(self, model: str) -> None:
        self._mailbox.tell(Gone(model))

    def failed(self, model: str, barred: Barring, *, streams_run: bool = False) -> None:
        self._mailbox.tell(Failed(model, barred, streams_run))

    def census(self, model: str, capacity: Capacity | None, running: tuple[Ticket, ...]) -> None:
        self._mailbox.tell(Census(model, capacity, running))

    def loading(self, model: str) -> None:
        self._mailbox.tell(Loading(model))

    def pardoned(self, model: str) -> None:
        self._mailbox.tell(Pardoned(model))

    def make_room(self, model: str, victims: tuple[str, ...]) -> None:
        self._mailbox.tell(MakeRoom(model, victims))

    def drain(self, model: str) -> None:
        self._mailbox.tell(Drain(model))

    def remind(self) -> None:
        self._mailbox.tell(Remind())
