"""What the admission policy predicts and shows."""

from __future__ import annotations

import pytest

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Class,
    Level,
    Limits,
    Phase,
)
from tests.policies.queueing import (
    TWO_SLOTS,
    facts,
    slow_queue,
    swapping,
)


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
