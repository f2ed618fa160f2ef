"""Equal shares of tokens between keys, by deficit round robin. Pure.

Shreedhar and Varghese, "Efficient fair queueing using deficit round robin" (1995): each key gets a
quantum per round and serves what it can pay for, so two keys with a backlog never differ by more
than a quantum and one request.
"""

from __future__ import annotations

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
    overdue_at: float = math.inf

    @property
    def order(self) -> tuple[float, int]:
        """Order of the overdue inside one key."""
        return (self.overdue_at, self.seq)

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

    def offer(self, key: str, fits: Fits) -> Waiter[K] | None:
        """The best request of *key* that fits, leaving it where it is."""
        flow = self._flows.get(key, Flow())
        return next((waiter for waiter in flow.waiting if fits(waiter.facts)), None)

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
