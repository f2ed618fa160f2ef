"""What a session tells its reader. Telling never waits, so no engine waits for a reader.

Bounded without losing text: beyond `MERGE_AFTER` unread events a piece is joined to the unread
piece of the same branch, and a reader that leaves `MAX_UNREAD_BYTES` unread ends the session.
"""

from __future__ import annotations

from collections.abc import Hashable

import attrs
import trio

from lattice_actors.errors import LatticeError
from lattice_actors.stream import SlowReader

from .events import AnswerPiece, BranchDelta, Event, Outcome

MERGE_AFTER = 256  # events: as `stream.MERGE_AFTER`
MAX_UNREAD_BYTES = 1024 * 1024  # UTF-8: 64 KiB for each of 16 branches


@attrs.define(eq=False)
class Feed:
    """Written by the tasks of one session, read by one task."""

    work: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)  # of those tasks
    _events: list[Event] = attrs.field(init=False, factory=list[Event])
    _pieces: dict[Hashable, int] = attrs.field(init=False, factory=dict[Hashable, int])
    _unread_bytes: int = attrs.field(init=False, default=0)
    _error: LatticeError | None = attrs.field(init=False, default=None)
    _ended: bool = attrs.field(init=False, default=False)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    def tell(self, event: Event) -> None:
        """Add *event*; an `Outcome` is the last one."""
        if self._ended:
            return
        match event:
            case BranchDelta(branch=branch, text=text, stage=stage, reasoning=reasoning):
                self._add_piece((branch, stage), event, text + reasoning)
            case AnswerPiece(text):
                self._add_piece("answer", event, text)
            case _:
                self._ended = isinstance(event, Outcome)
                self._events.append(event)
        self._news.set()

    def fail(self, error: LatticeError) -> None:
        """End with *error*, after what is unread."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._news.set()

    async def receive(self) -> list[Event]:
        """Return all that is unread, at least one event.

        Raises:
            LatticeError: why there is no outcome.
            trio.EndOfChannel: after the `Outcome`.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise trio.EndOfChannel
            self._news = trio.Event()
            await self._news.wait()
        await trio.lowlevel.checkpoint()
        unread, self._events = self._events, []
        self._pieces.clear()
        self._unread_bytes = 0
        return unread

    def _add_piece(self, key: Hashable, event: BranchDelta | AnswerPiece, text: str) -> None:
        self._unread_bytes += len(text.encode())
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self.fail(SlowReader(f"the client left {MAX_UNREAD_BYTES} bytes unread"))
            self.work.cancel(reason="nobody reads the swarm")
        elif len(self._events) >= MERGE_AFTER and key in self._pieces:
            at = self._pieces[key]
            self._events[at] = _joined(self._events[at], event)
        else:
            self._pieces[key] = len(self._events)
            self._events.append(event)


def _joined(earlier: Event, later: BranchDelta | AnswerPiece) -> Event:
    if isinstance(earlier, BranchDelta) and isinstance(later, BranchDelta):
        reasoning = earlier.reasoning + later.reasoning
        return attrs.evolve(later, text=earlier.text + later.text, reasoning=reasoning)
    assert isinstance(earlier, AnswerPiece)
    return AnswerPiece(earlier.text + later.text)
