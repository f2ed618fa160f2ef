"""The order of service: classes, ageing, fair shares."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.admission.deficit import QUANTUM_TOKENS, DeficitRing, Waiter
from lattice_actors.admission.fairness import Line
from lattice_actors.admission.verdicts import Class, Facts, Level

CLASSES = st.sampled_from(Class)


def facts(
    key: str = "ann",
    klass: Class = Class.NORMAL,
    arrived: float = 0.0,
    cost: float = 1000.0,
    priority: int = 0,
    deadline: float = math.inf,
    tokens: int = 500,
) -> Facts:
    return Facts(
        "m", key, klass, priority, arrived, math.inf, deadline, cost, cost - tokens, tokens
    )


def anybody(_: Facts) -> bool:
    return True


def served(line: Line[int]) -> list[int]:
    order = []
    while (waiter := line.take(anybody)) is not None:
        order.append(waiter.ticket)
    return order


def test_classes_go_in_order_and_arrival_decides_inside_one() -> None:
    line = Line[int](ageing_s=math.inf)
    for ticket, klass in enumerate([Class.BATCH, Class.NORMAL, Class.INTERACTIVE, Class.NORMAL]):
        line.add(ticket, facts(klass=klass, arrived=float(ticket)), float(ticket))

    assert served(line) == [2, 1, 3, 0]


def test_inside_a_key_priority_then_deadline_then_arrival_decide() -> None:
    line = Line[str](ageing_s=math.inf)
    line.add("first", facts(arrived=0.0), 0.0)
    line.add("urgent", facts(arrived=1.0, deadline=9.0), 1.0)
    line.add("important", facts(arrived=2.0, priority=3), 2.0)

    assert [w.ticket for w in line.ranking()] == ["important", "urgent", "first"]


def test_each_step_of_ageing_lifts_one_level_at_its_exact_moment() -> None:
    line = Line[int](ageing_s=5.0)
    waiter = line.add(1, facts(klass=Class.BATCH, arrived=10.0), 10.0)

    seen = []
    for now in (14.99, 15.0, 19.99, 20.0, 24.99, 25.0, 1000.0):
        line.age(now)
        seen.append(waiter.level)

    assert seen == [
        Level.BATCH,
        Level.NORMAL,
        Level.NORMAL,
        Level.INTERACTIVE,
        Level.INTERACTIVE,
        Level.OVERDUE,
        Level.OVERDUE,
    ]


def test_one_that_waited_elsewhere_keeps_its_age() -> None:
    line = Line[int](ageing_s=5.0)

    assert line.add(1, facts(klass=Class.INTERACTIVE, arrived=0.0), 5.0).level is Level.OVERDUE


def test_an_overdue_head_that_does_not_fit_keeps_the_smaller_ones_waiting() -> None:
    line = Line[str](ageing_s=5.0)
    line.add("large", facts(tokens=900), 0.0)
    line.add("small", facts(key="bob", arrived=9.0, tokens=10), 9.0)

    def fits(wanted: Facts) -> bool:
        return wanted.max_tokens < 100

    line.age(9.5)
    assert line.level_of_next(fits) is Level.NORMAL  # before it is overdue the small one may pass
    line.age(10.0)
    assert line.take(fits) is None
    assert line.take(anybody) is not None


def test_overdue_keys_take_turns_and_each_keeps_its_own_order() -> None:
    line = Line[str](ageing_s=1.0)
    for ticket, key, arrived in [
        ("a1", "ann", 0.0),
        ("a2", "ann", 0.1),
        ("a3", "ann", 0.2),
        ("b1", "bob", 0.3),
        ("b2", "bob", 0.4),
    ]:
        line.add(ticket, facts(key=key, klass=Class.INTERACTIVE, arrived=arrived), arrived)
    line.age(5.0)

    assert [w.ticket for w in line.ranking()] == ["a1", "b1", "a2", "b2", "a3"]


def overdue_ann(klass: Class) -> Line[str]:
    """Two overdue requests of ann; whoever comes next is not."""
    line = Line[str](ageing_s=1.0)
    for ticket in ("a1", "a2", "a3"):
        line.add(ticket, facts(key="ann", klass=klass, arrived=0.0), 0.0)
    line.age(5.0)
    assert line.take(anybody) is not None
    return line


def test_a_key_in_no_hurry_takes_its_turn_between_the_overdue_of_another() -> None:
    line = overdue_ann(Class.NORMAL)
    line.add("b1", facts(key="bob", arrived=5.0), 5.0)
    line.add("b2", facts(key="bob", arrived=5.0), 5.0)

    assert [w.ticket for w in line.ranking()] == ["a2", "b1", "a3", "b2"]


def test_a_less_urgent_class_waits_until_nobody_is_overdue() -> None:
    line = overdue_ann(Class.NORMAL)
    line.add("b1", facts(key="bob", klass=Class.BATCH, arrived=5.0), 5.0)

    assert [w.ticket for w in line.ranking()] == ["a2", "a3", "b1"]


def test_ones_own_urgent_requests_do_not_pass_ones_own_overdue_ones() -> None:
    line = overdue_ann(Class.BATCH)
    line.add("urgent", facts(key="ann", klass=Class.INTERACTIVE, arrived=5.0), 5.0)

    assert [w.ticket for w in line.ranking()] == ["a2", "a3", "urgent"]


@given(
    costs=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(1.0, 20_000.0)), min_size=6, max_size=60
    )
)
def test_backlogged_keys_get_equal_tokens_within_a_quantum_and_a_request(
    costs: list[tuple[str, float]],
) -> None:
    ring = DeficitRing[int](QUANTUM_TOKENS)
    left = Counter(key for key, _ in costs)
    for ticket, (key, cost) in enumerate(costs):
        ring.add(
            Waiter(ticket, facts(key=key, cost=cost, arrived=float(ticket)), ticket, Level.NORMAL)
        )
    keys = set(left)
    largest = max(cost for _, cost in costs)
    tokens = dict.fromkeys(keys, 0.0)

    while all(left[key] for key in keys):
        waiter = ring.take(anybody)
        assert waiter is not None
        tokens[waiter.facts.key] += waiter.facts.cost_tokens
        left[waiter.facts.key] -= 1

        assert max(tokens.values()) - min(tokens.values()) <= QUANTUM_TOKENS + largest + 1e-6


class WalkedRing:
    """Deficit round robin as in the paper, round by round: the reference."""

    def __init__(self, quantum: float) -> None:
        self.quantum = quantum
        self.flows: dict[str, list[tuple[int, float]]] = {}
        self.deficits: dict[str, float] = {}
        self.visiting: str | None = None

    def add(self, ticket: int, key: str, cost: float) -> None:
        self.flows.setdefault(key, []).append((ticket, cost))
        self.deficits.setdefault(key, 0.0)

    def take(self) -> int | None:
        while self.flows:
            key = next(iter(self.flows))
            if self.visiting != key:
                self.visiting = key
                self.deficits[key] += self.quantum
            ticket, cost = self.flows[key][0]
            if cost <= self.deficits[key]:
                self.deficits[key] -= cost
                self.flows[key].pop(0)
                if not self.flows[key]:
                    del self.flows[key], self.deficits[key]
                    self.visiting = None
                return ticket
            self.flows[key] = self.flows.pop(key)
            self.visiting = None
        return None


@given(
    news=st.lists(
        st.one_of(
            st.none(),
            st.tuples(st.sampled_from("abcd"), st.integers(1, 40).map(lambda n: n * 256.0)),
        ),
        max_size=80,
    )
)
def test_the_computed_rounds_serve_in_the_order_of_the_walked_ones(
    news: list[tuple[str, float] | None],
) -> None:
    ring = DeficitRing[int](QUANTUM_TOKENS)
    walked = WalkedRing(QUANTUM_TOKENS)

    for ticket, entry in enumerate(news):
        if entry is None:
            waiter = ring.take(anybody)
            assert (waiter.ticket if waiter else None) == walked.take()
        else:
            key, cost = entry
            ring.add(
                Waiter(ticket, facts(key, cost=cost, arrived=float(ticket)), ticket, Level.NORMAL)
            )
            walked.add(ticket, key, cost)


@given(
    arrivals=st.lists(
        st.tuples(st.floats(0, 30), st.sampled_from("abc"), CLASSES, st.integers(-3, 3)),
        max_size=30,
    ),
    gone=st.sets(st.integers(0, 29)),
    now=st.floats(0, 60),
)
def test_the_ranking_is_the_order_of_service_and_leaves_no_trace(
    arrivals: list[tuple[float, str, Class, int]], gone: set[int], now: float
) -> None:
    line = Line[int](ageing_s=5.0)
    for ticket, (arrived, key, klass, priority) in enumerate(sorted(arrivals, key=lambda a: a[0])):
        line.add(ticket, facts(key, klass, arrived, priority=priority), arrived)
    for ticket in gone & set(range(len(arrivals))):
        line.remove(ticket)
    line.age(max(now, 30.0))

    ranked = [waiter.ticket for waiter in line.ranking()]

    for key in "abc":  # between keys there are turns, but inside one the order is strict
        overdue = [w.level is Level.OVERDUE for w in line.ranking() if w.facts.key == key]
        assert overdue == sorted(overdue, reverse=True)
    assert sorted(ranked) == sorted(w.ticket for w in line.waiters)
    assert served(line) == ranked


def test_the_repr_counts_by_level() -> None:
    line = Line[int](ageing_s=5.0)
    assert repr(line) == "<Line empty>"
    line.add(1, facts(klass=Class.BATCH), 0.0)
    line.add(2, facts(klass=Class.INTERACTIVE, arrived=-9.0), 0.0)

    assert repr(line) == "<Line 1 overdue, 1 batch>"
