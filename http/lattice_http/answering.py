"""The life of the answers to one request: grants held, streams read, everything ended on leaving.

Leaving is cancelling: whatever ends the body of `async with` (a client that goes, a deadline, an
error) gives up the place in the queue, or the slot and what the engine is doing for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import attrs
import trio

from lattice_actors.admission.handle import AdmissionHandle
from lattice_actors.admission.ticket import Ticket
from lattice_actors.errors import LatticeError
from lattice_actors.generation import Delta, Finish, FinishReason, Usage

Event = tuple[int, Delta | Finish]  # with the number of the ticket it belongs to
Batch = list[Event] | LatticeError

UNREAD_BATCHES = 4  # between the readers of several streams and the one consumer


@attrs.define(eq=False)
class Answering:
    """Several tickets of one request as one source of events. Enter it, then `receive`."""

    _admission: AdmissionHandle
    tickets: Sequence[Ticket]
    _generation_timeout_s: float  # of each answer, from its grant
    cut: bool = attrs.field(init=False, default=False)  # time ended it, not the model
    _unfinished: set[int] = attrs.field(init=False)
    _holds: dict[Ticket, trio.CancelScope] = attrs.field(init=False)
    _batches: trio.MemoryReceiveChannel[Batch] | None = attrs.field(init=False, default=None)
    _reading: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    _stack: AsyncExitStack = attrs.field(init=False, factory=AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        self._unfinished = set(range(len(self.tickets)))
        self._holds = {ticket: trio.CancelScope() for ticket in self.tickets}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            # Entered last, so the first to run on the way out: the tasks below never end alone.
            stack.callback(nursery.cancel_scope.cancel, reason="the answer is over")
            for ticket in self.tickets:
                nursery.start_soon(self._hold, ticket, self._holds[ticket])
                await trio.lowlevel.checkpoint()  # so that they queue in this order
            if len(self.tickets) > 1:
                send, self._batches = trio.open_memory_channel[Batch](UNREAD_BATCHES)
                for index, ticket in enumerate(self.tickets):
                    nursery.start_soon(self._forward, index, ticket, send)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    @property
    def over(self) -> bool:
        """Every answer has had its `Finish`."""
        return not self._unfinished

    @property
    def request_id(self) -> str:
        """Of the request they all belong to."""
        return self.tickets[0].request_id

    @property
    def queued(self) -> bool:
        """No ticket has been granted yet."""
        return all(math.isnan(ticket.granted_at) for ticket in self.tickets)

    def fail(self, error: LatticeError) -> None:
        """End all answers with *error*, from outside; what is unread still comes first."""
        for ticket in self.tickets:
            ticket.stream.fail(error)

    async def receive(self, until: float = math.inf) -> list[Event] | None:
        """Return the next events, at least one, or None at *until* (Trio seconds).

        An answer that has taken too long gets a `Finish` of our own, with reason LENGTH.

        Raises:
            LatticeError: an answer failed; the others end on leaving.
        """
        while True:
            # The moment of the cut is not known before the grant: `_hold` moves it forward then.
            with trio.CancelScope(deadline=min(until, self._cut_at())) as self._reading:
                events = await self._next()
                self._unfinished -= {index for index, event in events if isinstance(event, Finish)}
                return events
            if trio.current_time() < self._cut_at():
                return None
            self._cut()

    async def _next(self) -> list[Event]:
        if self._batches is None:
            return [(0, event) for event in await self.tickets[0].stream.receive()]
        batch = await self._batches.receive()
        if isinstance(batch, LatticeError):
            raise batch
        return batch

    async def _hold(self, ticket: Ticket, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with self._admission.grant(ticket):
                    self._reading.deadline = min(self._reading.deadline, self._cut_at())
                    await trio.sleep_forever()
        except LatticeError as error:
            ticket.stream.fail(error)  # its reader raises it

    async def _forward(
        self, index: int, ticket: Ticket, send: trio.MemorySendChannel[Batch]
    ) -> None:
        while True:
            try:
                events = await ticket.stream.receive()
            except LatticeError as error:
                await send.send(error)
                return
            await send.send([(index, event) for event in events])
            if isinstance(events[-1], Finish):
                return

    def _cut_at(self) -> float:
        """When time ends the next answer."""
        return min((self._ends_at(ticket) for ticket in self.tickets), default=math.inf)

    def _ends_at(self, ticket: Ticket) -> float:
        # What still waits is admission's to refuse, also for want of time.
        if ticket.stream.ended or math.isnan(ticket.granted_at):
            return math.inf
        return min(ticket.deadline, ticket.granted_at + self._generation_timeout_s)

    def _cut(self) -> None:
        """End the answers whose time is over; their slots are free for the others'."""
        now = trio.current_time()
        for ticket in self.tickets:
            if self._ends_at(ticket) <= now:
                self.cut = True
                ticket.stream.finish(_cut_off(ticket))
                self._holds[ticket].cancel(reason="the answer has taken too long")


def _cut_off(ticket: Ticket) -> Finish:
    stream = ticket.stream
    prompt = stream.prefill.total if stream.prefill is not None else 0
    return Finish(FinishReason.LENGTH, Usage(prompt, stream.tokens))
