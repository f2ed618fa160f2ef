"""In which order the waiting requests of one model are served. Pure.

Levels first: OVERDUE, then the classes. A request climbs one level per `ageing_s`, so one that
came as batch is overdue after three steps, an interactive one after one. Inside a class keys share
by deficit round robin, charged in estimated tokens; inside a key: numeric priority, deadline,
arrival.

While somebody is overdue, keys take turns, one request each: an overdue one first, in the order of
becoming overdue. A key with none takes its turn too if its request came in a class at least as
urgent as the overdue one's whose turn is next. Everybody else waits, also one that needs less
memory. So between two turns of a key every other key has one at most, which bounds the wait
(docs/scheduling.md). Turns, and not one line for all: under lasting overload everybody is overdue,
and in one line a key with a hundred requests would own the machine.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from typing import Generic

import attrs

from .deficit import ENTRY_LEVEL, QUANTUM_TOKENS, DeficitRing, Fits, Waiter
from .verdicts import Facts, K, Level


@attrs.define(eq=False)
class Order(Generic[K]):
    """Who is next. Knows no time: the `Line` around it lifts."""

    quantum: float = QUANTUM_TOKENS
    _keys: dict[str, int] = attrs.field(factory=dict[str, int])  # waiting of each, next turn first
    _overdue: dict[str, list[Waiter[K]]] = attrs.field(factory=dict[str, list[Waiter[K]]])
    _rings: dict[Level, DeficitRing[K]] = attrs.field()

    @_rings.default
    def _no_rings(self) -> dict[Level, DeficitRing[K]]:
        return {level: DeficitRing(self.quantum) for level in ENTRY_LEVEL.values()}

    def add(self, waiter: Waiter[K]) -> None:
        key = waiter.facts.key
        self._keys[key] = self._keys.get(key, 0) + 1
        self._rings[waiter.level].add(waiter)

    def remove(self, waiter: Waiter[K]) -> None:
        key = waiter.facts.key
        self._take_out(waiter)
        self._keys[key] -= 1
        if not self._keys[key]:
            del self._keys[key]

    def lift(self, waiter: Waiter[K]) -> None:
        """Move *waiter* one level up; its key keeps its turn."""
        self._take_out(waiter)
        waiter.level = Level(waiter.level - 1)
        if waiter.level is Level.OVERDUE:
            insort(self._overdue.setdefault(waiter.facts.key, []), waiter, key=lambda w: w.order)
        else:
            self._rings[waiter.level].add(waiter)

    def level_of_next(self, fits: Fits) -> Level | None:
        """The level that `take` would serve at; None when it would serve nobody."""
        if self._overdue:
            return None if self._next_turn(fits) is None else Level.OVERDUE
        return next((level for level, ring in self._rings.items() if ring.any_fits(fits)), None)

    def take(self, fits: Fits) -> Waiter[K] | None:
        """Remove and return the next request, or None when nobody may go."""
        if self._overdue:
            waiter = self._next_turn(fits)
            if waiter is None:
                return None
            self._take_out(waiter)
        else:
            taken = (ring.take(fits) for ring in self._rings.values())
            waiter = next((waiter for waiter in taken if waiter is not None), None)
            if waiter is None:
                return None
        key = waiter.facts.key
        waiting = self._keys.pop(key) - 1
        if waiting:
            self._keys[key] = waiting  # to the end of the turns
        return waiter

    def copy(self) -> Order[K]:
        overdue = {key: list(waiters) for key, waiters in self._overdue.items()}
        rings = {level: ring.copy() for level, ring in self._rings.items()}
        return Order(self.quantum, dict(self._keys), overdue, rings)

    def _next_turn(self, fits: Fits) -> Waiter[K] | None:
        """The request whose turn it is. If it is overdue and does not fit, nobody goes."""
        head = next(self._overdue[key][0] for key in self._keys if key in self._overdue)
        urgency = ENTRY_LEVEL[head.facts.klass]

        def may_go(facts: Facts) -> bool:
            return ENTRY_LEVEL[facts.klass] <= urgency and fits(facts)

        for key in self._keys:
            if key == head.facts.key:
                break
            offers = (ring.offer(key, may_go) for ring in self._rings.values())
            waiter = next((offer for offer in offers if offer is not None), None)
            if waiter is not None:
                return waiter
        return head if fits(head.facts) else None

    def _take_out(self, waiter: Waiter[K]) -> None:
        if waiter.level is not Level.OVERDUE:
            self._rings[waiter.level].remove(waiter)
            return
        key = waiter.facts.key
        self._overdue[key].remove(waiter)
        if not self._overdue[key]:
            del self._overdue[key]


@attrs.define(eq=False)
class Line(Generic[K]):
    """Everybody who waits for one model."""

    ageing_s: float
    _waiters: dict[K, Waiter[K]] = attrs.field(factory=dict[K, Waiter[K]])  # in order of entering
    _order: Order[K] = attrs.field(factory=Order[K])
    _lifts: list[tuple[float, int, Waiter[K]]] = attrs.field(
        factory=list[tuple[float, int, Waiter[K]]]
    )  # heap of coming lifts; those of requests that have gone are skipped
    _seq: int = 0

    def add(self, ticket: K, facts: Facts, now: float) -> Waiter[K]:
        self._seq += 1
        level = ENTRY_LEVEL[facts.klass]
        overdue_at = facts.arrived + (level - Level.OVERDUE) * self.ageing_s
        waiter = Waiter(ticket, facts, self._seq, level, overdue_at)
        self._waiters[ticket] = waiter
        self._order.add(waiter)
        self._await_lift(waiter)
        self.age(now)  # it may have waited elsewhere already
        return waiter

    def remove(self, ticket: K) -> Waiter[K]:
        waiter = self._waiters.pop(ticket)
        self._order.remove(waiter)
        return waiter

    def age(self, now: float) -> None:
        """Lift everybody whose time has come, in the order of those times."""
        while self._lifts and self._lifts[0][0] <= now:
            _, _, waiter = heapq.heappop(self._lifts)
            if self._waiters.get(waiter.ticket) is not waiter:
                continue
            self._order.lift(waiter)
            if waiter.level is not Level.OVERDUE:
                self._await_lift(waiter)

    def level_of_next(self, fits: Fits) -> Level | None:
        """The level that `take` would serve at; None when it would serve nobody."""
        return self._order.level_of_next(fits)

    def take(self, fits: Fits) -> Waiter[K] | None:
        """Remove and return the next request, or None when nobody may go."""
        waiter = self._order.take(fits)
        if waiter is not None:
            del self._waiters[waiter.ticket]
        return waiter

    def ranking(self) -> list[Waiter[K]]:
        """Everybody, in the order of service if nobody came, aged or needed too much memory."""
        order = self._order.copy()
        ranked: list[Waiter[K]] = []
        while (waiter := order.take(lambda _: True)) is not None:
            ranked.append(waiter)
        return ranked

    def copy(self) -> Line[K]:
        """For asking "what if": the copy takes a newcomer, but must not be aged."""
        return Line(self.ageing_s, dict(self._waiters), self._order.copy(), [], self._seq)

    @property
    def waiters(self) -> tuple[Waiter[K], ...]:
        """Everybody, in order of entering."""
        return tuple(self._waiters.values())

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

    def _await_lift(self, waiter: Waiter[K]) -> None:
        lifts_at = waiter.lifts_at(self.ageing_s)
        if lifts_at < math.inf:  # with ageing switched off the heap would only grow
            heapq.heappush(self._lifts, (lifts_at, waiter.seq, waiter))
