"""Models that are wanted, give way and go: cases of the admission policy."""

from __future__ import annotations

import math

import pytest

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Drained,
    Granted,
    Limits,
    Phase,
    Refused,
    Unwant,
    Want,
)
from tests.policies.queueing import (
    ONE_SLOT,
    TWO_SLOTS,
    facts,
    granted,
    refused,
    serving,
    swapping,
)


def test_the_first_waiter_wants_its_model_and_the_last_to_leave_unwants_it() -> None:
    queue = AdmissionQueue[int]()

    assert queue.enter(1, facts(), 0.0) == [Want("a")]
    assert queue.enter(2, facts(), 0.0) == []
    assert queue.leave(1, 1.0) == []
    assert queue.leave(2, 1.0) == [Unwant("a")]


def test_a_cold_model_that_loads_for_longer_than_clients_wait_is_loaded_all_the_same() -> None:
    queue = AdmissionQueue[int]()
    queue.forecast.observed_load("a", 60.0)

    assert queue.enter(1, facts(budget_s=20.0), 0.0) == [Want("a")]
    queue.loading("a", 0.0)
    assert refused(queue.enter(2, facts(budget_s=20.0), 0.0)).retry_after_s == pytest.approx(
        40.0, abs=1
    )
    assert [type(v) for v in queue.expire(20.0)] == [Refused]  # and no Unwant: it is loading
    assert refused(queue.enter(3, facts(arrived=30.0, budget_s=20.0), 30.0)).retry_after_s == (
        pytest.approx(10.0, abs=1)
    )
    queue.ready("a", ONE_SLOT, 60.0)
    assert granted(queue.enter(4, facts(arrived=61.0, budget_s=20.0), 61.0)) == [4]


def test_a_short_budget_wakes_a_cold_model_too_and_a_budget_of_nothing_does_not() -> None:
    """Else an idle server would refuse for ever, and its Retry-After would be a lie."""
    queue = AdmissionQueue[int]()

    assert refused(queue.enter(1, facts(budget_s=0.0), 0.0)).code == "queue_timeout"
    assert queue.enter(2, facts(budget_s=0.5), 0.0) == [Want("a")]
    queue.loading("a", 0.0)
    assert [type(v) for v in queue.expire(0.5)] == [Refused]
    queue.ready("a", ONE_SLOT, 5.0)
    assert granted(queue.enter(3, facts(arrived=6.0, budget_s=0.5), 6.0)) == [3]


def test_only_the_first_of_several_may_outlast_its_budget_on_a_model_that_is_going() -> None:
    queue = serving()
    queue.forecast.observed_load("a", 60.0)
    queue.enter(1, facts(), 0.0)
    queue.drain("a", 0.0)

    assert queue.enter(2, facts(budget_s=20.0), 0.0) == []
    assert refused(queue.enter(3, facts(budget_s=20.0), 0.0)).code == "queue_timeout"


@pytest.mark.parametrize(("waiters", "due"), [(0, 2.0), (1, 6.0)])
def test_a_swap_waits_for_residence_and_for_a_busy_victims_queue(waiters: int, due: float) -> None:
    queue = swapping(waiters=waiters)

    assert queue.next_deadline == due
    queue.expire(due - 0.01)
    assert queue.view(due - 0.01).models["a"].phase is Phase.READY
    queue.expire(due)
    assert queue.view(due).models["a"].phase is Phase.DRAINING


def test_a_draining_model_grants_nobody_and_is_wanted_again_once_it_is_gone() -> None:
    queue = swapping(waiters=1)
    queue.expire(6.0)

    assert queue.ended(1, 7.0) == [Drained("a")]
    assert queue.gone("a", 8.0) == [Want("a")]
    assert queue.ready("b", ONE_SLOT, 9.0) == [Granted(2, 8.0)]


def test_when_the_last_waiter_leaves_before_it_is_due_the_swap_is_off() -> None:
    queue = swapping(waiters=1)

    assert queue.leave(2, 3.0) == [Unwant("b")]
    assert queue.next_deadline == math.inf
    assert granted(queue.ended(1, 7.0)) == [100]


def test_a_swap_that_has_begun_is_not_taken_back() -> None:
    queue = swapping(waiters=1)
    queue.expire(6.0)

    assert queue.leave(2, 6.5) == []
    assert queue.ended(1, 7.0) == [Drained("a")]


def test_a_waiter_that_leaves_does_not_start_the_clock_of_collation_anew() -> None:
    queue = swapping(waiters=1)
    queue.enter(3, facts("b", 4.0), 4.0)
    queue.leave(2, 4.0)

    assert queue.next_deadline == 6.0


def test_a_plan_for_a_victim_that_went_by_itself_does_not_hit_it_when_it_is_back() -> None:
    queue = swapping(waiters=1)
    assert queue.gone("a", 3.0) == [Want("a")]

    queue.ready("a", ONE_SLOT, 4.0)
    queue.expire(50.0)

    assert queue.view(50.0).models["a"].phase is Phase.READY
    assert queue.leave(2, 51.0) == [Unwant("b")]  # nothing has begun


def test_room_for_a_model_that_nobody_waits_for_is_not_made() -> None:
    queue = serving()

    assert queue.make_room("b", ["a"], 9.0) == [Unwant("b")]
    assert queue.view(9.0).models["a"].phase is Phase.READY


def test_drain_needs_no_residence_and_an_idle_model_has_drained_at_once() -> None:
    queue = serving()

    assert queue.drain("a", 0.0) == [Drained("a")]
    assert queue.enter(1, facts(), 0.0) == []
    assert queue.gone("a", 1.0) == [Want("a")]


def test_a_draining_model_stays_so_when_its_engine_has_been_restarted() -> None:
    queue = serving()
    queue.enter(1, facts(), 0.0)
    queue.drain("a", 1.0)

    queue.enter(2, facts(arrived=1.0), 1.0)
    assert queue.ready("a", TWO_SLOTS, 2.0) == []


def test_an_evictor_that_has_forgotten_is_told_again_what_matters() -> None:
    queue = serving()
    queue.drain("a", 0.0)
    queue.enter(1, facts("b"), 0.0)

    assert queue.remind(1.0) == [Drained("a"), Want("b")]


def test_a_cap_on_all_streams_lets_models_take_turns() -> None:
    queue = AdmissionQueue[int](Limits(streams_total=1))
    queue.ready("a", TWO_SLOTS, 0.0)
    queue.ready("b", TWO_SLOTS, 0.0)
    order = granted(queue.enter(0, facts("a"), 0.0))
    for ticket in (1, 2, 3):
        queue.enter(ticket, facts("a"), 0.0)
    for ticket in (4, 5):
        queue.enter(ticket, facts("b"), 0.0)

    while len(order) < 6:
        order += granted(queue.ended(order[-1], 0.0))

    assert order == [0, 4, 1, 5, 2, 3]
