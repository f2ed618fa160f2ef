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
    _batches: trio.MemoryReceiveChannel[Batch] | None = attrs.field(init=False, default=None)
    _stack: AsyncExitStack = attrs.field(init=False, factory=AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        self._unfinished = set(range(len(self.tickets)))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            # Entered last, so the first to run on the way out: the tasks below never end alone.
            stack.callback(nursery.cancel_scope.cancel, reason="the answer is over")
            for ticket in self.tickets:
                nursery.start_soon(self._hold, ticket)
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
        cut_at = self._cut_at()
        with trio.move_on_at(min(until, cut_at)):
            events = await self._next()
            self._unfinished -= {index for index, event in events if isinstance(event, Finish)}
            return events
        if trio.current_time() < cut_at:
            return None
        self.cut = True
        late: list[Event] = []
        for index in sorted(self._unfinished):
            stream = self.tickets[index].stream
            late += [(index, event) for event in stream.take() if isinstance(event, Delta)]
            late.append((index, _cut_off(self.tickets[index])))
        self._unfinished.clear()
        return late

    async def _next(self) -> list[Event]:
        if self._batches is None:
            return [(0, event) for event in await self.tickets[0].stream.receive()]
        batch = await self._batches.receive()
        if isinstance(batch, LatticeError):
            raise batch
        return batch

    async def _hold(self, ticket: Ticket) -> None:
        try:
            async with self._admission.grant(ticket):
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
        moments = [
            min(ticket.deadline, _later(ticket.granted_at, self._generation_timeout_s))
            for ticket in (self.tickets[index] for index in self._unfinished)
        ]
        return min(moments, default=math.inf)


def _later(granted_at: float, seconds: float) -> float:
    return math.inf if math.isnan(granted_at) else granted_at + seconds


def _cut_off(ticket: Ticket) -> Finish:
    stream = ticket.stream
    prompt = stream.prefill.total if stream.prefill is not None else 0
    return Finish(FinishReason.LENGTH, Usage(prompt, stream.tokens))
