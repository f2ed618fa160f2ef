"""In which order the waiting requests of one model are served. Pure.

Levels first: OVERDUE, then the classes. A request climbs one level per `ageing_s`, so one that
came as batch is overdue after three steps, an interactive one after one.

Inside a class keys share by deficit round robin (Shreedhar and Varghese, 1995), charged in
estimated tokens; inside a key: numeric priority, deadline, arrival. Among the overdue keys take
turns, one request each, and inside a key it is strictly the order of becoming overdue. Nobody who
is not overdue passes one who is, not even by needing less memory: this is what bounds the wait
(docs/scheduling.md). Turns rather than one line for all, because under lasting overload everybody
is overdue, and one key with a hundred requests would then own the machine.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Iterator
from typing import Generic

import attrs

from .verdicts import Class, Facts, K, Level

# About one chat answer: small enough that keys alternate, large enough that a turn serves somebody.
QUANTUM_TOKENS = 2048.0

Fits = Callable[[Facts], bool]
ENTRY_LEVEL = {
    Class.INTERACTIVE: Level.INTERACTIVE,
    Class.NORMAL: Level.NORMAL,
    Class.BATCH: Level.BATCH,
}


@attrs.define(eq=False)
class Waiter(Generic[K]):
    """One waiting request; `seq` is the order of entering."""

    ticket: K
    facts: Facts
    seq: int
    level: Level

    @property
    def rank(self) -> tuple[int, float, float, int]:
        """Order inside one key of one class."""
        return (-self.facts.priority, self.facts.deadline, self.facts.arrived, self.seq)

    def lifts_at(self, ageing_s: float) -> float:
        """When it leaves its level for the next; the last such moment is when it is overdue."""
        return self.facts.arrived + (ENTRY_LEVEL[self.facts.klass] - self.level + 1) * ageing_s


@attrs.define(eq=False)
class Flow(Generic[K]):
    """The requests of one key in one class, best first."""

    waiting: list[Waiter[K]] = attrs.field(factory=list[Waiter[K]])
    deficit: float = 0.0  # tokens it may still spend


@attrs.define(eq=False)
class DeficitRing(Generic[K]):
    """Deficit round robin over keys. The rounds are computed, not walked, so cost is no matter."""

    quantum: float
    _flows: dict[str, Flow[K]] = attrs.field(factory=dict[str, Flow[K]])  # in order of turns
    _visited: str | None = None  # the key at the head has had its quantum for this turn

    def add(self, waiter: Waiter[K]) -> None:
        flow = self._flows.setdefault(waiter.facts.key, Flow())
        insort(flow.waiting, waiter, key=lambda other: other.rank)

    def remove(self, waiter: Waiter[K]) -> None:
        key = waiter.facts.key
        self._flows[key].waiting.remove(waiter)
        if not self._flows[key].waiting:
            del self._flows[key]  # an idle key saves nothing up
            if self._visited == key:
                self._visited = None

    def take(self, fits: Fits) -> Waiter[K] | None:
        """Remove and return the next request that fits, and charge its key for it."""
        offers = [(key, flow, waiter) for key, flow, waiter in self._offers(fits)]
        if not offers:
            return None
        turns: list[tuple[int, int]] = []  # (round, place) in which each could be served
        for place, (key, flow, waiter) in enumerate(offers):
            missing = math.ceil((waiter.facts.cost_tokens - flow.deficit) / self.quantum)
            if key != self._visited:
                turns.append((max(1, missing), place))
            elif missing <= 0:
                turns.append((0, place))
            else:  # its turn is over: the next one comes after everybody else's
                turns.append((missing, len(offers)))
        first = min(turns)
        for (_, place), (_, flow, _) in zip(turns, offers, strict=True):
            flow.deficit += self.quantum * max(0, first[0] if place <= first[1] else first[0] - 1)
        key, flow, waiter = offers[turns.index(first)]
        flow.deficit -= waiter.facts.cost_tokens
        self._turn_to(key)
        self.remove(waiter)
        return waiter

    def any_fits(self, fits: Fits) -> bool:
        return any(True for _ in self._offers(fits))

    def copy(self) -> DeficitRing[K]:
        flows = {key: Flow(list(flow.waiting), flow.deficit) for key, flow in self._flows.items()}
        return DeficitRing(self.quantum, flows, self._visited)

    def _offers(self, fits: Fits) -> Iterator[tuple[str, Flow[K], Waiter[K]]]:
        for key, flow in self._flows.items():
            for waiter in flow.waiting:
                if fits(waiter.facts):
                    yield key, flow, waiter
                    break

    def _turn_to(self, key: str) -> None:
        keys = list(self._flows)
        at = keys.index(key)
        self._flows = {k: self._flows[k] for k in keys[at:] + keys[:at]}
        self._visited = key


@attrs.define(eq=False)
class Turns(Generic[K]):
    """The overdue: keys take turns, one request each; inside a key, first overdue first."""

    ageing_s: float
    _keys: dict[str, list[Waiter[K]]] = attrs.field(factory=dict[str, list[Waiter[K]]])

    def add(self, waiter: Waiter[K]) -> None:
        line = self._keys.setdefault(waiter.facts.key, [])
        insort(line, waiter, key=self._overdue_at)

    def remove(self, waiter: Waiter[K]) -> None:
        key = waiter.facts.key
        self._keys[key].remove(waiter)
        if not self._keys[key]:
            del self._keys[key]

    @property
    def head(self) -> Waiter[K] | None:
        """Whose turn it is. If it does not fit, everybody behind it waits too."""
        return next((line[0] for line in self._keys.values()), None)

    def take(self, fits: Fits) -> Waiter[K] | None:
        head = self.head
        if head is None or not fits(head.facts):
            return None
        key = head.facts.key
        line = self._keys.pop(key)[1:]
        if line:
            self._keys[key] = line  # to the end of the ring
        return head

    def copy(self) -> Turns[K]:
        return Turns(self.ageing_s, {key: list(line) for key, line in self._keys.items()})

    def _overdue_at(self, waiter: Waiter[K]) -> tuple[float, int]:
        steps = ENTRY_LEVEL[waiter.facts.klass] - Level.OVERDUE
        return (waiter.facts.arrived + steps * self.ageing_s, waiter.seq)


@attrs.define(eq=False)
class Line(Generic[K]):
    """Everybody who waits for one model."""

    ageing_s: float
    quantum: float = QUANTUM_TOKENS
    _waiters: dict[K, Waiter[K]] = attrs.field(factory=dict[K, Waiter[K]])  # in order of entering
    _overdue: Turns[K] = attrs.field()
    _rings: dict[Level, DeficitRing[K]] = attrs.field()
    _steps: list[tuple[float, int, Waiter[K]]] = attrs.field(
        factory=list[tuple[float, int, Waiter[K]]]
    )  # heap of coming lifts; those of requests that have gone are skipped
    _seq: int = 0

    @_overdue.default
    def _no_overdue(self) -> Turns[K]:
        return Turns(self.ageing_s)

    @_rings.default
    def _no_rings(self) -> dict[Level, DeficitRing[K]]:
        return {level: DeficitRing(self.quantum) for level in ENTRY_LEVEL.values()}

    def add(self, ticket: K, facts: Facts, now: float) -> Waiter[K]:
        self._seq += 1
        waiter = Waiter(ticket, facts, self._seq, ENTRY_LEVEL[facts.klass])
        self._waiters[ticket] = waiter
        self._rings[waiter.level].add(waiter)
        self._await_lift(waiter)
        self.age(now)  # it may have waited elsewhere already
        return waiter

    def remove(self, ticket: K) -> Waiter[K]:
        waiter = self._waiters.pop(ticket)
        self._standing(waiter).remove(waiter)
        return waiter

    def age(self, now: float) -> None:
        """Lift everybody whose time has come, in the order of those times."""
        while self._steps and self._steps[0][0] <= now:
            _, _, waiter = heapq.heappop(self._steps)
            if self._waiters.get(waiter.ticket) is not waiter:
                continue
            self._standing(waiter).remove(waiter)
            waiter.level = Level(waiter.level - 1)
            self._standing(waiter).add(waiter)
            if waiter.level is not Level.OVERDUE:
                self._await_lift(waiter)

    def level_of_next(self, fits: Fits) -> Level | None:
        """The level that `take` would serve; None when it would serve nobody."""
        head = self._overdue.head
        if head is not None:
            return Level.OVERDUE if fits(head.facts) else None
        return next((level for level, ring in self._rings.items() if ring.any_fits(fits)), None)

    def take(self, fits: Fits) -> Waiter[K] | None:
        """Remove and return the next request, or None when nobody may go."""
        level = self.level_of_next(fits)
        if level is None:
            return None
        queue = self._overdue if level is Level.OVERDUE else self._rings[level]
        waiter = queue.take(fits)
        if waiter is not None:
            del self._waiters[waiter.ticket]
        return waiter

    def ranking(self) -> list[Waiter[K]]:
        """Everybody, in the order of service if nobody came, aged or needed too much memory."""
        overdue = self._overdue.copy()
        rings = {level: ring.copy() for level, ring in self._rings.items()}
        order: list[Waiter[K]] = []
        queues: list[Turns[K] | DeficitRing[K]] = [overdue, *rings.values()]
        for queue in queues:
            while (waiter := queue.take(lambda _: True)) is not None:
                order.append(waiter)
        return order

    def copy(self) -> Line[K]:
        """For asking "what if": the copy takes a newcomer, but must not be aged."""
        rings = {level: ring.copy() for level, ring in self._rings.items()}
        return Line(
            self.ageing_s,
            self.quantum,
            dict(self._waiters),
            self._overdue.copy(),
            rings,
            [],
            self._seq,
        )

    @property
    def waiters(self) -> tuple[Waiter[K], ...]:
        """Everybody, in order of entering."""
        return tuple(self._waiters.values())

    @property
    def oldest_arrival(self) -> float:
        """Seconds; infinity when nobody waits."""
        return min((waiter.facts.arrived for waiter in self._waiters.values()), default=math.inf)

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, ticket: K) -> bool:
        return ticket in self._waiters

    def __repr__(self) -> str:
        counts = dict.fromkeys(Level, 0)
        for waiter in self._waiters.values():
            counts[waiter.level] += 1
        shown = ", ".join(f"{n} {level.name.lower()}" for level, n in counts.items() if n)
        return f"<Line {shown or 'empty'}>"

    def _standing(self, waiter: Waiter[K]) -> Turns[K] | DeficitRing[K]:
        return self._overdue if waiter.level is Level.OVERDUE else self._rings[waiter.level]

    def _await_lift(self, waiter: Waiter[K]) -> None:
        lifts_at = waiter.lifts_at(self.ageing_s)
        if lifts_at < math.inf:  # with ageing switched off the heap would only grow
            heapq.heappush(self._steps, (lifts_at, waiter.seq, waiter))
