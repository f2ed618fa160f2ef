"""Granting and refusing: cases of the admission policy."""

from __future__ import annotations

import math

import attrs
import pytest

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.residence import kv_bytes
from lattice_actors.admission.verdicts import (
    Cancel,
    Capacity,
    Granted,
    Limits,
    Phase,
    Refused,
    Want,
)
from tests.policies.queueing import (
    ONE_SLOT,
    TWO_SLOTS,
    facts,
    granted,
    refused,
    serving,
    slow_queue,
)


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


def test_an_answer_that_may_be_shorter_is_not_refused_for_its_longest() -> None:
    queue = serving(Capacity(slots=4, kv_bytes_per_token=10, kv_budget_bytes=10_240))

    assert granted(queue.enter(1, attrs.evolve(facts(max_tokens=1025), shorten=True), 0.0)) == [1]


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


def test_a_deadline_before_the_first_token_is_refused_by_an_idle_model_too() -> None:
    queue = serving(TWO_SLOTS)
    queue.forecast.ready("a", decode_step_s=0.1, prefill_tokens_per_s=100.0)

    refusal = refused(queue.enter(1, facts(prompt=200.0, deadline=1.9), 0.0))

    assert refusal.code == "deadline_exceeded"
    assert granted(queue.enter(2, facts(prompt=200.0, deadline=2.1), 0.0)) == [2]
