"""Laws and cases of the admission policy."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Self

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lattice_actors.admission.forecast import longest_wait_s
from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.residence import kv_bytes
from lattice_actors.admission.verdicts import (
    Cancel,
    Capacity,
    Class,
    Drained,
    Facts,
    Granted,
    Level,
    Limits,
    Phase,
    Refused,
    Unwant,
    Verdict,
    Want,
)

TWO_SLOTS = Capacity(slots=2, kv_bytes_per_token=0, kv_budget_bytes=0)
ONE_SLOT = Capacity(slots=1, kv_bytes_per_token=0, kv_budget_bytes=0)


def facts(
    model: str = "a",
    arrived: float = 0.0,
    *,
    key: str = "ann",
    klass: Class = Class.NORMAL,
    budget_s: float = math.inf,
    deadline: float = math.inf,
    prompt: float = 100.0,
    max_tokens: int = 100,
    priority: int = 0,
    gang: str | None = None,
) -> Facts:
    return Facts(
        model=model,
        key=key,
        klass=klass,
        priority=priority,
        arrived=arrived,
        wait_until=arrived + budget_s,
        deadline=deadline,
        cost_tokens=prompt + max_tokens,
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        gang=gang,
    )


def granted(verdicts: Sequence[Verdict[int]]) -> list[int]:
    return [v.ticket for v in verdicts if isinstance(v, Granted)]


def refused(verdicts: Sequence[Verdict[int]]) -> Refused[int]:
    [refusal] = [v for v in verdicts if isinstance(v, Refused)]
    return refusal


def serving(capacity: Capacity = ONE_SLOT, limits: Limits | None = None) -> AdmissionQueue[int]:
    queue = AdmissionQueue[int](limits or Limits())
    queue.ready("a", capacity, 0.0)
    return queue


# --- granting and refusing ---


def test_a_request_for_an_idle_ready_model_runs_at_once_even_with_no_wait_budget() -> None:
    assert serving().enter(1, facts(budget_s=0.0), 0.0) == [Granted(1, 0.0)]


def test_with_no_wait_budget_a_busy_model_is_refused_at_once() -> None:
    queue = serving()
    queue.enter(1, facts(), 0.0)

    refusal = refused(queue.enter(2, facts(budget_s=0.0), 0.0))

    assert refusal.code == "queue_timeout"
    assert queue.waiting == ()


def test_a_freed_slot_goes_to_the_next_and_says_how_long_it_waited() -> None:
    queue = serving()
    queue.enter(1, facts(), 0.0)
    queue.enter(2, facts(arrived=1.0), 1.0)

    assert queue.ended(1, 4.0) == [Granted(2, 3.0)]


def test_a_leaving_stream_keeps_its_slot_until_its_backend_has_let_go() -> None:
    queue = serving()
    queue.enter(1, facts(), 0.0)
    queue.enter(2, facts(), 0.0)

    assert queue.leave(1, 1.0) == [Cancel(1)]
    assert queue.leave(1, 1.0) == []
    assert queue.ended(1, 2.0) == [Granted(2, 2.0)]
    assert queue.ended(1, 2.0) == []


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(queue_max_per_model=2), "queue_overloaded_model"),
        (Limits(queue_max_total=2), "queue_overloaded_total"),
    ],
)
def test_one_waiter_too_many_is_refused_with_the_queue_it_met(limits: Limits, code: str) -> None:
    queue = serving(limits=limits)
    for ticket in range(3):
        queue.enter(ticket, facts(), 0.0)

    refusal = refused(queue.enter(3, facts(), 0.0))

    assert refusal.code == code
    assert (refusal.facts.queued_for_model, refusal.facts.inflight_total) == (2, 1)
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s >= 1


def test_a_full_house_does_not_refuse_whom_an_idle_model_can_take() -> None:
    queue = serving(limits=Limits(queue_max_total=1))
    queue.ready("b", ONE_SLOT, 0.0)
    queue.enter(1, facts(), 0.0)
    queue.enter(2, facts(), 0.0)

    assert granted(queue.enter(3, facts("b"), 0.0)) == [3]


def test_zero_bounds_mean_unlimited() -> None:
    queue = serving(limits=Limits(queue_max_per_model=0, queue_max_total=0))
    for ticket in range(300):
        assert not any(isinstance(v, Refused) for v in queue.enter(ticket, facts(), 0.0))

    assert len(queue.waiting) == 299


def slow_queue() -> AdmissionQueue[int]:
    """One slot; every request is known to take 10 s."""
    queue = serving()
    for _ in range(200):
        queue.forecast.observed_finish(
            "a",
            prompt_tokens=100_000,
            prompt_bytes=350_000,
            completion_tokens=101,
            max_tokens=101,
            decode_s=10.0,
            ttft_s=1.0,
        )
    return queue


def test_a_wait_predicted_over_the_budget_is_refused_at_once_and_says_when_it_would_do() -> None:
    queue = slow_queue()
    for ticket in range(3):
        queue.enter(ticket, facts(), 0.0)

    refusal = refused(queue.enter(3, facts(budget_s=20.0), 0.0))  # its turn comes in 30 s

    assert refusal.code == "queue_timeout"
    assert refusal.retry_after_s == pytest.approx(10.0, abs=0.2)
    assert queue.enter(4, facts(budget_s=31.0), 0.0) == []
    # Coming back at that time, with the same budget, it is let in.
    queue.ended(0, 10.0)
    queue.leave(4, 10.1)
    assert queue.enter(5, facts(arrived=10.2, budget_s=20.0), 10.2) == []


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    queue = slow_queue()
    queue.enter(0, facts(), 0.0)

    assert refused(queue.enter(1, facts(deadline=9.0), 0.0)).code == "deadline_exceeded"
    assert queue.enter(2, facts(deadline=11.0), 0.0) == []
    assert refused(serving().enter(3, facts(deadline=5.0), 5.0)).code == "deadline_exceeded"


def test_at_the_end_of_its_budget_a_waiter_is_refused_and_not_a_moment_before() -> None:
    queue = serving()
    queue.enter(1, facts(), 0.0)
    queue.enter(2, facts(budget_s=20.0), 0.0)
    queue.enter(3, facts(deadline=15.0), 0.0)

    assert queue.next_deadline == 15.0
    assert queue.expire(14.9) == []
    assert refused(queue.expire(15.0)).code == "deadline_exceeded"
    refusal = refused(queue.expire(20.0))
    assert (refusal.code, refusal.facts.waited_ms) == ("queue_timeout", 20_000)
    assert queue.next_deadline == math.inf


def test_what_can_never_fit_is_refused_for_good_with_the_numbers() -> None:
    small = Capacity(slots=4, kv_bytes_per_token=10, kv_budget_bytes=10_240, context_tokens=2000)
    queue = serving(small)

    cache = refused(queue.enter(1, facts(max_tokens=1025), 0.0))
    context = refused(queue.enter(2, facts(max_tokens=2001), 0.0))

    assert (cache.code, cache.permanent, cache.retry_after_s) == ("request_too_large", True, None)
    assert "1025" in cache.message
    assert "holds 1024 tokens" in cache.message
    assert "2001" in context.message
    assert "2000 tokens" in context.message


def test_an_estimated_prompt_never_refuses_for_good_and_counts_no_longer_than_can_be() -> None:
    queue = serving(Capacity(slots=4, kv_bytes_per_token=10, kv_budget_bytes=10_240))

    assert granted(queue.enter(1, facts(prompt=50_000.0), 0.0)) == [1]  # the engine knows better
    assert queue.enter(2, facts(prompt=1.0), 0.0) == []  # a row of 1024 beside it is too much


def test_before_a_load_the_prompt_counts_for_nothing_but_max_tokens_does() -> None:
    small = Capacity(slots=4, kv_bytes_per_token=10, kv_budget_bytes=10_240)
    queue = serving(small)
    queue.gone("a", 1.0)

    assert refused(queue.enter(1, facts(max_tokens=1025), 1.0)).permanent
    assert queue.enter(2, facts(prompt=5000.0), 1.0) == [Want("a")]
    assert granted(queue.ready("a", small, 2.0)) == [2]


def test_cache_is_counted_as_streams_times_the_longest() -> None:
    queue = serving(Capacity(slots=8, kv_bytes_per_token=1, kv_budget_bytes=4 * 256))
    for ticket in range(3):
        assert granted(queue.enter(ticket, facts(), 0.0)) == [ticket]

    # It would fit beside them as a sum (3 * 256 + 257), but makes four rows of 512.
    assert queue.enter(3, facts(prompt=157.0), 0.0) == []
    assert granted(queue.enter(4, facts(), 0.0)) == [4]
    queue.leave(3, 0.0)
    assert kv_bytes(4, 257.0, Capacity(8, 1, 0)) == 4 * 512


def test_a_long_request_cannot_be_starved_by_short_ones() -> None:
    queue = serving(Capacity(slots=2, kv_bytes_per_token=1, kv_budget_bytes=512))
    queue.enter(0, facts(max_tokens=50), 0.0)
    queue.enter(1, facts(max_tokens=300), 0.0)  # alone: 512
    queue.enter(2, facts(max_tokens=50), 0.0)

    queue.expire(10.0)  # ticket 1 is overdue
    assert queue.ended(0, 10.0) == []
    assert granted(queue.ended(2, 11.0)) == [1]


def test_failed_refuses_everybody_who_waits_with_its_reason() -> None:
    queue = AdmissionQueue[int]()
    queue.enter(1, facts(), 0.0)
    queue.enter(2, facts(), 0.0)

    verdicts = queue.failed("a", "model_load_failed", "no weights", None, 1.0)

    assert [v.ticket for v in verdicts if isinstance(v, Refused)] == [1, 2]
    assert all(v.retry_after_s is None for v in verdicts if isinstance(v, Refused))
    assert queue.view(1.0).models["a"].phase is Phase.COLD


# --- wanting, swapping, draining ---


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


def swapping(*, waiters: int) -> AdmissionQueue[int]:
    """Model a came at 0, runs ticket 1 and has *waiters*; somebody wants b since 1.0."""
    queue = serving()
    queue.enter(1, facts(), 0.0)
    for ticket in range(100, 100 + waiters):
        queue.enter(ticket, facts(), 0.0)
    assert queue.enter(2, facts("b", 1.0), 1.0) == [Want("b")]
    assert queue.make_room("b", ["a"], 1.0) == []
    return queue


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


# --- rebuilding ---


def test_while_rebuilding_nobody_is_granted_or_refused_for_room() -> None:
    queue = AdmissionQueue[int](Limits(queue_max_per_model=1), rebuilding=True)
    for ticket in (1, 2, 3):
        assert queue.enter(ticket, facts(), 0.0) == []

    assert queue.census("a", True, TWO_SLOTS, [(9, facts())], 0.0) == []
    assert queue.begin(1.0) == [Granted(1, 1.0)]


def test_a_client_that_left_during_the_rebuilding_is_cancelled_when_a_census_names_it() -> None:
    queue = AdmissionQueue[int](rebuilding=True)
    assert queue.leave(9, 0.0) == []

    assert queue.census("a", True, ONE_SLOT, [(9, facts())], 0.0) == [Cancel(9)]
    queue.begin(0.0)
    assert queue.enter(1, facts(), 0.0) == []
    assert granted(queue.ended(9, 1.0)) == [1]


@pytest.mark.parametrize("enters_first", [True, False])
def test_one_that_asks_again_and_runs_already_is_granted_once(enters_first: bool) -> None:
    queue = AdmissionQueue[int](rebuilding=True)
    verdicts: list[Verdict[int]] = []
    if enters_first:
        verdicts += queue.enter(9, facts(), 0.0)
    verdicts += queue.census("a", True, ONE_SLOT, [(9, facts())], 0.0)
    if not enters_first:
        verdicts += queue.enter(9, facts(), 0.0)
    verdicts += queue.enter(9, facts(), 0.0)

    assert verdicts + queue.begin(0.0) == [Granted(9, 0.0)]
    assert queue.running == (9,)


def test_a_census_ends_what_it_does_not_name() -> None:
    queue = serving()
    queue.enter(1, facts(), 0.0)
    queue.enter(2, facts(), 0.0)

    assert granted(queue.census("a", True, ONE_SLOT, [], 1.0)) == [2]


def test_after_rebuilding_waiters_of_a_cold_model_want_it() -> None:
    queue = AdmissionQueue[int](rebuilding=True)
    queue.enter(1, facts(), 0.0)
    queue.census("a", False, None, [], 0.0)

    assert queue.begin(0.0) == [Want("a")]


def test_a_model_told_to_go_during_the_rebuilding_drains_once_all_is_known() -> None:
    queue = AdmissionQueue[int](rebuilding=True)

    assert queue.drain("a", 0.0) == []
    queue.census("a", True, ONE_SLOT, [(9, facts())], 0.0)
    assert queue.begin(0.0) == []
    assert queue.ended(9, 1.0) == [Drained("a")]


# --- showing ---


def test_a_prediction_is_what_happens_to_a_newcomer_and_changes_nothing() -> None:
    queue = slow_queue()
    for ticket in range(3):
        queue.enter(ticket, facts(key="bob"), 0.0)
    before = queue.view(0.0)

    prediction = queue.predict(facts(klass=Class.INTERACTIVE), 0.0)

    assert (prediction.position, prediction.klass) == (0, Class.INTERACTIVE)
    assert prediction.wait_s == pytest.approx(10.0, rel=0.02)
    assert queue.predict(facts(klass=Class.BATCH), 0.0).wait_s == pytest.approx(30.0, rel=0.02)
    assert queue.view(0.0) == before


def test_the_prediction_for_a_cold_model_is_its_load() -> None:
    queue = AdmissionQueue[int]()
    queue.forecast.observed_load("b", 30.0)

    assert queue.predict(facts("b"), 0.0).wait_s == pytest.approx(30.0, rel=0.01)
    assert repr(queue) == "<AdmissionQueue 0 running, 0/128 waiting, 0 of 0 models ready>"


def test_a_pending_swap_is_in_the_predictions_of_both_models() -> None:
    queue = slow_queue()
    queue.forecast.observed_load("a", 6.0)
    queue.forecast.observed_load("b", 6.0)
    for ticket in range(2):
        queue.enter(ticket, facts(), 0.0)
    queue.enter(2, facts("b"), 0.0)
    queue.make_room("b", ["a"], 0.0)

    # due at 5 s (collation), the running one ends at 10 s
    assert queue.predict(facts("b"), 0.0).wait_s == pytest.approx(5 + 10 + 6 + 0.6, abs=2)
    [entry] = queue.view(0.0).of(Class.NORMAL)[:1]
    assert entry.ticket == 1
    assert entry.predicted_wait_s == pytest.approx(10 + 10 + 6 + 2 + 6, abs=1)


def test_the_prediction_for_a_model_that_is_going_is_its_streams_and_a_load() -> None:
    queue = slow_queue()
    queue.forecast.observed_load("a", 6.0)
    queue.enter(1, facts(), 0.0)
    queue.drain("a", 0.0)

    assert queue.predict(facts(), 4.0).wait_s == pytest.approx(6 + 6, abs=0.2)


def test_once_the_victim_has_gone_the_load_is_counted_down() -> None:
    queue = swapping(waiters=0)
    queue.forecast.observed_load("b", 30.0)
    queue.expire(2.0)
    queue.ended(1, 3.0)
    queue.gone("a", 4.0)

    assert queue.predict(facts("b"), 14.0).wait_s == pytest.approx(20.0, abs=0.5)


def test_a_cap_on_all_streams_is_in_the_predictions() -> None:
    queue = AdmissionQueue[int](Limits(streams_total=1), forecast=slow_queue().forecast)
    queue.ready("a", TWO_SLOTS, 0.0)
    queue.ready("b", TWO_SLOTS, 0.0)
    queue.enter(1, facts("a"), 0.0)
    queue.enter(2, facts("a"), 0.0)

    assert queue.predict(facts("b"), 0.0).wait_s == pytest.approx(10.0, rel=0.02)
    assert queue.predict(facts("b", klass=Class.BATCH), 0.0).wait_s == pytest.approx(20.0, rel=0.02)


def test_the_view_shows_who_waits_what_runs_and_which_swaps_are_pending() -> None:
    queue = swapping(waiters=2)
    queue.leave(1, 1.0)

    view = queue.view(4.0)

    assert [(w.ticket, w.model, w.position) for w in view.waiting] == [
        (100, "a", 0),
        (101, "a", 1),
        (2, "b", 0),
    ]
    assert view.waiting[2].waited_s == 3.0
    model = view.models["a"]
    assert (model.phase, model.running, model.leaving, model.slots) == (Phase.READY, 0, 1, 1)
    [swap] = view.swaps
    assert (swap.model, swap.victims, swap.begun, swap.due_in_s) == ("b", ("a",), False, 2.0)
    assert view.waiting[0].level is Level.NORMAL
    assert "swapping to b" in repr(queue)


# --- the laws ---


class QueueMachine(RuleBasedStateMachine):
    """Requests, ends, leavers, loads, swaps and passing time, in any order."""

    LIMITS = Limits(queue_max_per_model=4, queue_max_total=7, streams_total=4)
    CAPACITY = Capacity(slots=3, kv_bytes_per_token=1, kv_budget_bytes=2048, context_tokens=1500)
    MODELS = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = AdmissionQueue[int](self.LIMITS)
        self.facts: dict[int, Facts] = {}
        self.undecided: set[int] = set()
        self.held: set[int] = set()  # undecided members of gangs that are not eligible yet
        self.begun: set[str] = set()  # gangs of which somebody was granted
        self.streams: dict[int, bool] = {}  # running: has its client left?
        self.ready: set[str] = set()
        self.drained: set[str] = set()
        self.asked: set[str] = set()  # to give way to another model
        self.wanted: set[str] = set()
        self.rebuilding = False
        self.tickets = iter(range(100_000))

    def apply(self, verdicts: Sequence[Verdict[int]]) -> None:
        for verdict in verdicts:
            match verdict:
                case Granted(ticket, queued_s):
                    self.undecided.remove(ticket)  # a second fate would raise here
                    self.streams[ticket] = False
                    model = self.facts[ticket].model
                    assert not self.rebuilding
                    assert model in self.ready
                    assert model not in self.drained
                    assert queued_s >= 0
                    assert ticket not in self.held
                    self.begun.add(self.facts[ticket].gang or "")
                case Refused(ticket):
                    self.undecided.remove(ticket)
                    assert verdict.permanent or verdict.retry_after_s is not None
                    assert verdict.retry_after_s is None or verdict.retry_after_s >= 1
                    gang = self.facts[ticket].gang
                    if gang is not None:  # it was let in
                        assert ticket not in self.held
                        assert not verdict.code.startswith("queue_overloaded")
                        assert verdict.code != "queue_timeout" or gang not in self.begun
                case Cancel(ticket):
                    assert self.streams[ticket]
                case Want(model):
                    assert model not in self.ready
                    assert model not in self.wanted
                    self.wanted.add(model)
                case Unwant(model):
                    self.wanted.discard(model)
                case Drained(model):
                    assert model in self.ready
                    # Asked for room too, it answers a second time; the evictor takes that well.
                    assert model not in self.drained or model in self.asked
                    assert not any(self.facts[t].model == model for t in self.streams)
                    self.drained.add(model)

    @rule(
        model=st.sampled_from(MODELS),
        key=st.sampled_from("xyz"),
        klass=st.sampled_from(Class),
        budget_s=st.sampled_from([0.0, 1.0, 6.0, 20.0, math.inf]),
        deadline_s=st.sampled_from([0.5, 30.0, math.inf, math.inf]),
        prompt=st.sampled_from([1.0, 100.0, 600.0, 3000.0]),
        max_tokens=st.sampled_from([1, 100, 700, 1501]),
    )
    def arrive(
        self,
        model: str,
        key: str,
        klass: Class,
        budget_s: float,
        deadline_s: float,
        prompt: float,
        max_tokens: int,
    ) -> None:
        ticket = next(self.tickets)
        self.facts[ticket] = facts(
            model,
            self.now,
            key=key,
            klass=klass,
            budget_s=budget_s,
            deadline=self.now + deadline_s,
            prompt=prompt,
            max_tokens=max_tokens,
        )
        self.undecided.add(ticket)
        self.apply(self.queue.enter(ticket, self.facts[ticket], self.now))

    @rule(
        models=st.lists(st.sampled_from(MODELS), min_size=1, max_size=5),
        later=st.lists(st.sampled_from(MODELS), max_size=2),
        key=st.sampled_from("xyz"),
        budget_s=st.sampled_from([0.0, 6.0, 20.0, math.inf]),
        deadline_s=st.sampled_from([0.5, 30.0, math.inf, math.inf]),
        max_tokens=st.sampled_from([1, 100, 700, 1501]),
    )
    def a_gang_arrives(
        self,
        models: list[str],
        later: list[str],
        key: str,
        budget_s: float,
        deadline_s: float,
        max_tokens: int,
    ) -> None:
        tickets = [next(self.tickets) for _ in (*models, *later)]
        for ticket, model in zip(tickets, (*models, *later), strict=True):
            self.facts[ticket] = facts(
                model,
                self.now,
                key=key,
                budget_s=budget_s,
                deadline=self.now + deadline_s,
                max_tokens=max_tokens,
                gang=f"gang {tickets[0]}",
            )
        members = [(ticket, self.facts[ticket]) for ticket in tickets]
        verdicts = self.queue.enter_gang(members[: len(models)], members[len(models) :], self.now)
        refusals = [v for v in verdicts if isinstance(v, Refused)]
        if refusals:
            assert not self.rebuilding
            assert [v.ticket for v in verdicts if isinstance(v, Refused)] == tickets
            assert len(verdicts) == len(tickets)  # and nothing else has changed
            assert len({(v.code, v.message) for v in refusals}) == 1
            return
        self.undecided.update(tickets)
        self.held.update(tickets[len(models) :])
        self.apply(verdicts)
        if not self.rebuilding:
            self.the_gang_took_no_more_places_than_there_are(set(tickets) & self.undecided)

    def the_gang_took_no_more_places_than_there_are(self, tickets: set[int]) -> None:
        places = Counter(self.facts[t].model for t in self.undecided)
        assert all(places[self.facts[t].model] <= self.LIMITS.queue_max_per_model for t in tickets)
        assert not tickets or sum(places.values()) <= self.LIMITS.queue_max_total

    @precondition(lambda self: self.held)
    @rule(data=st.data(), max_tokens=st.sampled_from([1, 100, 700, 1501]))
    def a_held_one_becomes_eligible(self, data: st.DataObject, max_tokens: int) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(ticket)
        self.facts[ticket] = attrs.evolve(
            self.facts[ticket], arrived=self.now, wait_until=math.inf, max_tokens=max_tokens
        )
        self.apply(self.queue.eligible(ticket, self.facts[ticket], self.now))
        assert self.queue.eligible(ticket, self.facts[ticket], self.now) == [] or (
            ticket not in self.undecided and ticket not in self.streams
        )

    @precondition(lambda self: self.undecided)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.undecided)))
        self.undecided.remove(ticket)
        self.held.discard(ticket)
        self.apply(self.queue.leave(ticket, self.now))

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def leave_running(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.streams)))
        known = self.streams[ticket]
        self.streams[ticket] = True
        verdicts = self.queue.leave(ticket, self.now)
        if not self.rebuilding:  # else a census has to name it first
            assert verdicts == ([] if known else [Cancel(ticket)])

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.streams)))
        del self.streams[ticket]
        self.apply(self.queue.ended(ticket, self.now))
        assert self.queue.ended(ticket, self.now) == []

    @rule(model=st.sampled_from(MODELS))
    def become_ready(self, model: str) -> None:
        if model not in self.ready:
            self.ready.add(model)
            self.wanted.discard(model)
            self.apply(self.queue.ready(model, self.CAPACITY, self.now))

    @rule(model=st.sampled_from(MODELS), victims=st.sets(st.sampled_from(MODELS)))
    def make_room(self, model: str, victims: set[str]) -> None:
        possible = sorted((victims & self.ready) - self.drained - {model})
        if model in self.wanted and possible:
            self.asked.update(possible)
            self.apply(self.queue.make_room(model, possible, self.now))

    @rule(model=st.sampled_from(MODELS))
    def unload(self, model: str) -> None:
        # While rebuilding it is held back, and asking twice would be answered twice.
        if model in self.ready and model not in self.drained and not self.rebuilding:
            self.apply(self.queue.drain(model, self.now))

    @precondition(lambda self: self.drained)
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        self.vanish(data.draw(st.sampled_from(sorted(self.drained))))

    @precondition(lambda self: self.ready)
    @rule(data=st.data(), failed=st.booleans())
    def crash(self, data: st.DataObject, failed: bool) -> None:
        self.vanish(data.draw(st.sampled_from(sorted(self.ready))), failed=failed)

    def vanish(self, model: str, *, failed: bool = False) -> None:
        self.ready.discard(model)
        self.drained.discard(model)
        self.asked.discard(model)
        self.streams = {t: left for t, left in self.streams.items() if self.facts[t].model != model}
        if failed:
            self.apply(self.queue.failed(model, "model_load_failed", "broken", 5.0, self.now))
        else:
            self.apply(self.queue.gone(model, self.now))

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.queue.expire(self.now))
        for ticket in self.undecided - self.held:
            begun = self.facts[ticket].gang in self.begun
            until = self.facts[ticket].deadline if begun else self.facts[ticket].gives_up_at
            assert until > self.now
        assert self.queue.next_deadline > self.now  # else its owner would spin

    @precondition(lambda self: not self.rebuilding)
    @rule()
    def lose_the_memory(self) -> None:
        """A new incarnation: whoever waits asks again, the model actors have to tell."""
        self.queue = AdmissionQueue[int](self.LIMITS, rebuilding=True)
        self.rebuilding = True
        self.wanted.clear()
        for ticket in sorted(self.undecided):
            known = self.facts[ticket]
            if known.gang is None:
                self.apply(self.queue.enter(ticket, known, self.now))
                continue
            if known.gang in self.begun:
                known = attrs.evolve(known, wait_until=math.inf)
            held = ticket in self.held
            self.apply(self.queue.rejoin(ticket, known, self.now, eligible=not held))

    @precondition(lambda self: self.rebuilding)
    @rule()
    def tell_it_all(self) -> None:
        for model in self.MODELS:
            running = [(t, self.facts[t]) for t in self.streams if self.facts[t].model == model]
            drained = model in self.drained
            self.drained.discard(model)
            self.apply(
                self.queue.census(model, model in self.ready, self.CAPACITY, running, self.now)
            )
            if drained:  # the evictor holds on to its plan
                self.apply(self.queue.drain(model, self.now))
        self.rebuilding = False
        for ticket, left in list(self.streams.items()):
            if left:
                assert self.queue.leave(ticket, self.now) in ([Cancel(ticket)], [])
        self.apply(self.queue.begin(self.now))

    @invariant()
    def the_queue_agrees_about_who_waits_and_who_runs(self) -> None:
        assert set(self.queue.waiting) == self.undecided - self.held
        assert set(self.queue.held) == self.held
        if not self.rebuilding:
            assert set(self.queue.running) == set(self.streams)
            assert len(self.streams) <= self.LIMITS.streams_total

    @invariant()
    def slots_and_memory_are_never_exceeded(self) -> None:
        for model in self.MODELS:
            rows = [
                min(self.facts[t].tokens, self.CAPACITY.longest_tokens)
                for t in self.streams
                if self.facts[t].model == model
            ]
            assert len(rows) <= 3
            assert not rows or kv_bytes(len(rows), max(rows), self.CAPACITY) <= 2048

    @invariant()
    def nobody_waits_while_a_ready_model_has_room(self) -> None:
        if self.rebuilding or len(self.streams) >= self.LIMITS.streams_total:
            return
        view = self.queue.view(self.now)
        for model in self.MODELS:
            if model not in view.models or view.models[model].phase is not Phase.READY:
                continue
            waiting = [w for w in view.waiting if w.model == model]
            blocked = False
            anybody_fits = False
            rows = [
                min(self.facts[t].tokens, self.CAPACITY.longest_tokens)
                for t in self.streams
                if self.facts[t].model == model
            ]
            for waiter in waiting:
                needs = self.facts[waiter.ticket]
                longest = max([*rows, min(needs.tokens, self.CAPACITY.longest_tokens)])
                fits = kv_bytes(len(rows) + 1, longest, self.CAPACITY) <= 2048 and len(rows) < 3
                anybody_fits |= fits
                blocked |= waiter.level is Level.OVERDUE and not fits
            assert not anybody_fits or blocked  # behind an overdue one that does not fit itself

    @invariant()
    def somebody_is_always_told_about_a_model_that_is_waited_for(self) -> None:
        for ticket in self.undecided - self.held:
            model = self.facts[ticket].model
            assert self.rebuilding or model in self.ready or model in self.wanted

    @invariant()
    def predictions_are_finite_and_change_nothing(self) -> None:
        before = repr(self.queue)
        assert 0 <= self.queue.predict(facts("a", self.now), self.now).wait_s < math.inf
        assert repr(self.queue) == before


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# --- a small world: the real policy, a simple evictor, any traffic ---


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


@given(gaps=ARRIVALS, slots=st.integers(1, 3), bound=st.integers(1, 12))
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=100, deadline=None)
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
@settings(max_examples=100, deadline=None)
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
@settings(max_examples=150, deadline=None)
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


def test_a_deadline_before_the_first_token_is_refused_by_an_idle_model_too() -> None:
    queue = serving(TWO_SLOTS)
    queue.forecast.ready("a", decode_step_s=0.1, prefill_tokens_per_s=100.0)

    refusal = refused(queue.enter(1, facts(prompt=200.0, deadline=1.9), 0.0))

    assert refusal.code == "deadline_exceeded"
    assert granted(queue.enter(2, facts(prompt=200.0, deadline=2.1), 0.0)) == [2]
