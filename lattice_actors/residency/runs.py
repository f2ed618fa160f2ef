"""The tickets in the care of one model actor: who is in the engine, who waits, who is suspect.

Pure. A crash of the engine makes suspects of the answers that nobody has read: each begins again
with nobody else in the engine, so that a request which kills it is found out. Fresh ones may join
a suspect after its first token; another suspect may not.

    fresh --+--> in the engine --> ended
            |        | crash
    suspect +        v
       ^        again (a suspect), or lost: read by its client, poison, or tried too often
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs

T = TypeVar("T", bound=Hashable)

MOST_RETRIES = 2  # of an answer that was in the engine when it crashed


class Loss(enum.Enum):
    """Why an answer does not begin again after a crash."""

    READ = "its client has read something"
    POISON = "the engine died while it was alone in it, and not for the first time"
    TIRED = "it was in the engine too often when that crashed"


@attrs.frozen
class Start(Generic[T]):
    """Put this ticket into the engine. *suspect*: its first token is to be announced."""

    rid: int
    ticket: T
    suspect: bool


@attrs.define(eq=False)
class _Run(Generic[T]):
    ticket: T
    crashes: int = 0
    rid: int | None = None  # None: waits


@attrs.define(eq=False)
class Runs(Generic[T]):
    """All tickets of one model between their grant and their end."""

    _runs: dict[T, _Run[T]] = attrs.field(init=False, factory=dict[T, "_Run[T]"])
    _in_engine: dict[int, _Run[T]] = attrs.field(init=False, factory=dict[int, "_Run[T]"])
    _suspects: deque[_Run[T]] = attrs.field(init=False, factory=deque["_Run[T]"])
    _fresh: deque[_Run[T]] = attrs.field(init=False, factory=deque["_Run[T]"])
    _on_probation: int | None = attrs.field(init=False, default=None)  # rid; no token yet
    _last_rid: int = attrs.field(init=False, default=0)

    def enter(self, ticket: T) -> None:
        """A ticket was granted; it waits for `starts`."""
        run = self._runs[ticket] = _Run(ticket)
        self._fresh.append(run)

    def starts(self) -> list[Start[T]]:
        """Return who goes into a working engine now: one suspect alone, or all that is fresh."""
        if self._on_probation is not None:
            return []
        if self._suspects:
            if self._in_engine:
                return []
            start = self._start(self._suspects.popleft(), suspect=True)
            self._on_probation = start.rid
            return [start]
        fresh, self._fresh = self._fresh, deque["_Run[T]"]()
        return [self._start(run, suspect=False) for run in fresh]

    def first_token(self, rid: int) -> None:
        """A suspect has its first token: fresh ones may join it."""
        if rid == self._on_probation:
            self._on_probation = None

    def rid_of(self, ticket: T) -> int | None:
        """Return its number in the engine; None: it waits, or is unknown."""
        run = self._runs.get(ticket)
        return run.rid if run is not None else None

    def ticket_of(self, rid: int) -> T | None:
        """Return the ticket of a number in the engine; None: it has ended."""
        run = self._in_engine.get(rid)
        return run.ticket if run is not None else None

    def end(self, ticket: T) -> bool:
        """Forget *ticket*, wherever it is. False: it is unknown, its end came already."""
        run = self._runs.pop(ticket, None)
        if run is None:
            return False
        if run.rid is not None:
            self._in_engine.pop(run.rid, None)
            self.first_token(run.rid)
        for waiting in (self._suspects, self._fresh):
            if run in waiting:
                waiting.remove(run)
        return True

    def crashed(self, can_begin_again: Callable[[T], bool]) -> list[tuple[T, Loss]]:
        """The engine died. Return who is lost, for the caller to `end`; the others are suspects.

        *can_begin_again* says of a ticket whether nobody has read anything of its answer.
        """
        were_in = [run for _, run in sorted(self._in_engine.items())]
        alone = len(were_in) == 1
        self._in_engine.clear()
        self._on_probation = None
        lost: list[tuple[T, Loss]] = []
        for run in were_in:
            run.rid = None
            run.crashes += 1
            if not can_begin_again(run.ticket):
                lost.append((run.ticket, Loss.READ))
            elif alone and run.crashes > 1:
                lost.append((run.ticket, Loss.POISON))
            elif run.crashes > MOST_RETRIES:
                lost.append((run.ticket, Loss.TIRED))
            else:
                self._suspects.append(run)
        return lost

    @property
    def tickets(self) -> tuple[T, ...]:
        """All that have not ended, in the order of their grants."""
        return tuple(self._runs)

    @property
    def in_engine(self) -> int:
        """How many are in the engine."""
        return len(self._in_engine)

    @property
    def waiting(self) -> int:
        """How many are not, suspects and fresh ones."""
        return len(self._suspects) + len(self._fresh)

    def _start(self, run: _Run[T], *, suspect: bool) -> Start[T]:
        self._last_rid += 1  # never used twice, over all engines
        run.rid = self._last_rid
        self._in_engine[run.rid] = run
        return Start(run.rid, run.ticket, suspect)

    def __repr__(self) -> str:
        return (
            f"<Runs {self.in_engine} in the engine, {len(self._fresh)} fresh, "
            f"{len(self._suspects)} suspect>"
        )
