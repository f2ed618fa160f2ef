"""Nobody waits longer than the published bound, and keys share fairly."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Sequence

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Capacity,
    Class,
    Limits,
    Verdict,
)
from tests.policies.arrivals import (
    ARRIVALS,
    SERVICE_S,
    Arrival,
    Gaps,
    World,
    assert_bounded,
    traffic,
)
from tests.policies.queueing import (
    facts,
    granted,
)


@given(gaps=ARRIVALS, slots=st.integers(1, 3), bound=st.integers(1, 12))
@settings(max_examples=150)
def test_nobody_waits_longer_than_the_bound_whatever_arrives(
    gaps: Gaps, slots: int, bound: int
) -> None:
    world = World(
        traffic(gaps, "a"),
        Capacity(slots, 0, 0),
        Limits(queue_max_per_model=bound, ageing_s=2.0),
        load_s=4.0,
    ).run()

    assert_bounded(world, slots, models=1)


@given(gaps=ARRIVALS, long=st.sets(st.integers(0, 59)))
@settings(max_examples=100)
def test_nobody_waits_longer_than_the_bound_when_memory_is_what_is_short(
    gaps: Gaps, long: set[int]
) -> None:
    arrivals = traffic(gaps, "a")
    arrivals = [
        attrs.evolve(a, prompt=900.0 if ticket in long else 100.0)
        for ticket, a in enumerate(arrivals)
    ]
    world = World(
        arrivals,
        Capacity(8, 1, 2 * 1024),  # two of the long ones
        Limits(queue_max_per_model=8, ageing_s=2.0),
        load_s=4.0,
    ).run()

    assert_bounded(world, slots=2, models=1)


@given(gaps=ARRIVALS, slots=st.integers(1, 3), total=st.integers(1, 4))
@settings(max_examples=100)
def test_a_cap_on_all_streams_adds_turns_of_the_other_models(
    gaps: Gaps, slots: int, total: int
) -> None:
    world = World(
        traffic(gaps, "abc"),
        Capacity(slots, 0, 0),
        Limits(queue_max_per_model=8, ageing_s=2.0, streams_total=total),
        load_s=4.0,
    ).run()

    assert_bounded(world, slots, models=1, turns_s=math.ceil(3 / total) * SERVICE_S)


@given(gaps=ARRIVALS, slots=st.integers(1, 3), models=st.sampled_from(["ab", "abc"]))
@settings(max_examples=150)
def test_models_that_share_one_place_keep_the_bound_too(
    gaps: Gaps, slots: int, models: str
) -> None:
    world = World(
        traffic(gaps, models),
        Capacity(slots, 0, 0),
        Limits(queue_max_per_model=8, ageing_s=2.0, min_residence_s=1.0, collate_s=3.0),
        load_s=4.0,
        one_place=True,
    ).run()

    assert_bounded(world, slots, models=len(models))


def test_alternating_requests_for_two_models_do_not_swap_on_every_request() -> None:
    arrivals = [
        Arrival(0.5 * n, "ab"[n % 2], f"k{n % 5}", Class.NORMAL, 0, 1.0) for n in range(120)
    ]
    world = World(arrivals, Capacity(4, 0, 0), Limits(), load_s=2.0, one_place=True).run()

    assert_bounded(world, 4, models=2)
    assert not world.refused
    # 60 s of traffic; a turn is at least residence + load, and collation makes it longer.
    assert world.loads <= 14
    assert max(world.waits.values()) <= 5 + 1 + 2 + 5 + 1 + 2


def test_one_key_with_a_hundred_requests_does_not_slow_five_keys_with_one_each() -> None:
    """A closed loop for ten minutes: everybody sends the next request when one is answered."""
    draw = random.Random(1)
    queue = AdmissionQueue[int](Limits(queue_max_per_model=0, queue_max_total=0))
    queue.ready("a", Capacity(2, 0, 0), 0.0)
    ends: list[tuple[float, int, str]] = []
    keys: dict[int, str] = {}
    served: Counter[str] = Counter()

    def send(key: str, now: float) -> None:
        ticket = len(keys)
        keys[ticket] = key
        carry_out(queue.enter(ticket, facts(arrived=now, key=key), now), now)

    def carry_out(verdicts: Sequence[Verdict[int]], now: float) -> None:
        for ticket in granted(verdicts):
            heapq.heappush(ends, (now + draw.uniform(2.0, 4.0), ticket, keys[ticket]))

    for _ in range(100):
        send("flood", 0.0)
    for n in range(5):
        send(f"single-{n}", 0.0)
    while ends[0][0] < 600.0:
        now, ticket, key = heapq.heappop(ends)
        served[key] += 1
        carry_out(queue.ended(ticket, now), now)
        send(key, now)

    fair = sum(served.values()) / 6
    assert all(served[f"single-{n}"] >= 0.8 * fair for n in range(5))
    assert served["flood"] >= 0.8 * fair
