"""The admission policy after a crash of its owner: what runs is told before it decides."""

from __future__ import annotations

import pytest

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Cancel,
    Drained,
    Granted,
    Limits,
    Verdict,
    Want,
)
from tests.policies.queueing import (
    ONE_SLOT,
    TWO_SLOTS,
    facts,
    granted,
    serving,
)


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
