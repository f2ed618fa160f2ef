"""How the rest of the program speaks to admission."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from lattice_actors.engine import frames
from lattice_actors.mailbox import Mailbox

from .messages import (
    Barring,
    Census,
    Drain,
    Eligible,
    Ended,
    Enter,
    EnterGang,
    Failed,
    Fate,
    Gone,
    Leave,
    Loading,
    MakeRoom,
    Message,
    ModelOutlook,
    Outlook,
    Pardoned,
    Predict,
    Ready,
    Remind,
    View,
)
from .ticket import Gang, Ticket
from .verdicts import Capacity, QueueView

_NUMBERS = itertools.count(1)  # of gangs, for people


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
