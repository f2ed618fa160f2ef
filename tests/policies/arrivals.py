"""A small world for laws of waiting: the real policy, a simple evictor, any traffic."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Self

import attrs
from hypothesis import strategies as st

from lattice_actors.admission.forecast import longest_wait_s
from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Cancel,
    Capacity,
    Class,
    Drained,
    Granted,
    Limits,
    Refused,
    Unwant,
    Verdict,
    Want,
)
from tests.policies.queueing import (
    facts,
)


@attrs.frozen
class Arrival:
    at: float
    model: str
    key: str
    klass: Class
    priority: int
    service_s: float
    prompt: float = 100.0


@attrs.define(eq=False)
class World:
    """One place in memory, or one for each model; loads take *load_s* from drained to ready."""

    arrivals: list[Arrival]
    capacity: Capacity
    limits: Limits
    load_s: float
    one_place: bool = False
    now: float = 0.0
    loads: int = 0
    waits: dict[int, float] = attrs.field(factory=dict[int, float])
    refused: set[int] = attrs.field(factory=set[int])
    own: dict[int, int] = attrs.field(factory=dict[int, int])  # of one's key when overdue
    granted: list[int] = attrs.field(factory=list[int])
    _queue: AdmissionQueue[int] = attrs.field(init=False)
    _events: list[tuple[float, int, str, int | str]] = attrs.field(
        init=False, factory=list[tuple[float, int, str, int | str]]
    )
    _wanted: list[str] = attrs.field(init=False, factory=list[str])
    _resident: str | None = attrs.field(init=False, default=None)
    _busy: bool = attrs.field(init=False, default=False)  # loading, or waiting for a victim to go
    _seq: int = attrs.field(init=False, default=0)

    def run(self) -> Self:
        self._queue = AdmissionQueue[int](self.limits)
        self._schedule()
        while self._events or self._queue.next_deadline < math.inf:
            event_at = self._events[0][0] if self._events else math.inf
            if self._queue.next_deadline < event_at:
                self.now = max(self.now, self._queue.next_deadline)
                self._apply(self._queue.expire(self.now))
            else:
                self.now, _, name, subject = heapq.heappop(self._events)
                self._on(name, subject)
            self._evict()
        return self

    def _schedule(self) -> None:
        for ticket, arrival in enumerate(self.arrivals):
            self._at(arrival.at, "arrive", ticket)
            self._look_when_overdue(ticket, arrival.at)

    def _look_when_overdue(self, ticket: int, since: float) -> None:
        steps = {Class.INTERACTIVE: 1, Class.NORMAL: 2, Class.BATCH: 3}[self.arrivals[ticket].klass]
        self._at(since + steps * self.limits.ageing_s, "overdue", ticket)

    def _at(self, when: float, name: str, subject: int | str) -> None:
        self._seq += 1
        heapq.heappush(self._events, (when, self._seq, name, subject))

    def _on(self, name: str, subject: int | str) -> None:
        queue = self._queue
        match name, subject:
            case "arrive", int(ticket):
                a = self.arrivals[ticket]
                news = facts(
                    a.model,
                    self.now,
                    key=a.key,
                    klass=a.klass,
                    priority=a.priority,
                    prompt=a.prompt,
                )
                self._apply(queue.enter(ticket, news, self.now))
            case "overdue", int(ticket):
                arrival = self.arrivals[ticket]
                if ticket in queue.waiting:
                    others = (self.arrivals[t] for t in queue.waiting)
                    mine = [o for o in others if (o.key, o.model) == (arrival.key, arrival.model)]
                    self.own[ticket] = len(mine)
            case "end", int(ticket):
                self._apply(queue.ended(ticket, self.now))
            case "gone", str(model):
                self._apply(queue.gone(model, self.now))
            case "ready", str(model):
                self._resident, self._busy = model, False
                self.loads += 1
                self._apply(queue.ready(model, self.capacity, self.now))

    def _apply(self, verdicts: Sequence[Verdict[int]]) -> None:
        for verdict in verdicts:
            match verdict:
                case Granted(ticket, queued_s):
                    self.waits[ticket] = queued_s
                    self.granted.append(ticket)
                    self._at(self.now + self.arrivals[ticket].service_s, "end", ticket)
                case Refused(ticket):
                    self.refused.add(ticket)
                case Want(model):
                    self._wanted.append(model)
                case Unwant(model):
                    self._wanted.remove(model)
                case Drained(model):
                    self._at(self.now, "gone", model)
                    self._load(self._wanted.pop(0))
                case Cancel():
                    raise AssertionError("nobody leaves here")

    def _evict(self) -> None:
        while self._wanted and not self._busy:
            if self.one_place and self._resident is not None:
                self._busy = True
                self._apply(self._queue.make_room(self._wanted[0], [self._resident], self.now))
            else:
                self._load(self._wanted.pop(0))

    def _load(self, model: str) -> None:
        self._busy = self.one_place
        self._at(self.now + self.load_s, "ready", model)


SERVICE_S = 10.0
ARRIVALS = st.lists(
    st.tuples(
        st.floats(0.0, 3.0),  # gaps
        st.sampled_from("wxyz"),
        st.sampled_from(Class),
        st.integers(-10, 10),
        st.floats(0.5, SERVICE_S),
        st.sampled_from("abc"),
    ),
    min_size=1,
    max_size=60,
)
Gaps = list[tuple[float, str, Class, int, float, str]]


def traffic(gaps: Gaps, models: str) -> list[Arrival]:
    now = 0.0
    arrivals = []
    for gap, key, klass, priority, service_s, model in gaps:
        now += gap
        known = model if model in models else models[0]
        arrivals.append(Arrival(now, known, key, klass, priority, service_s))
    return arrivals


def assert_bounded(world: World, slots: int, models: int, turns_s: float = 0.0) -> None:
    """*turns_s*: what a cap on all streams adds for each request ahead."""
    assert len(world.waits) + len(world.refused) == len(world.arrivals)
    for ticket, waited_s in world.waits.items():
        arrival = world.arrivals[ticket]
        keys = {a.key for a in world.arrivals if a.model == arrival.model}
        bound_s = longest_wait_s(
            world.limits,
            arrival.klass,
            slots=slots,
            service_s=SERVICE_S,
            own=world.own.get(ticket, 1),
            keys=len(keys),
            models=models,
            load_s=world.load_s,
        )
        ahead = world.own.get(ticket, 1) * min(len(keys), world.limits.queue_max_per_model)
        assert waited_s <= bound_s + ahead * turns_s + 1e-6
