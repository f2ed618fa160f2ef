"""When a model that failed may be tried again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.intensity import Intensity, backed_off_s
from lattice_actors.residency.restart import (
    CLEAN_RECORD_AFTER_S,
    Quarantine,
    Record,
    Restart,
)
from lattice_actors.residency.states import MOVES, IllegalMove, ModelState, move


def record() -> Record:
    return Record(random.Random(1))


def crashes(kept: Record, *moments: float) -> list[Restart | Quarantine]:
    return [kept.crashed(moment) for moment in moments]


def test_the_first_restart_is_immediate_and_the_fourth_crash_in_a_minute_is_one_too_many() -> None:
    fates = crashes(record(), 0, 10, 20, 30)

    assert fates[0] == Restart(0.0)
    assert all(isinstance(fate, Restart) for fate in fates[:3])
    assert fates[3] == Quarantine(60.0)


def test_a_slow_crash_loop_is_seen_too_because_the_window_is_four_loads() -> None:
    kept = record()
    kept.ready(load_s=100.0, now=0.0)

    assert crashes(kept, 100, 200, 300, 390)[3] == Quarantine(60.0)


def test_quarantine_doubles_up_to_a_quarter_of_an_hour_and_a_clean_time_forgets() -> None:
    kept, now, lengths = record(), 0.0, []
    for _ in range(6):
        for _ in range(4):
            now += 1
            fate = kept.crashed(now)
        assert isinstance(fate, Quarantine)
        lengths.append(fate.for_s)
    assert lengths == [60, 120, 240, 480, 900, 900]

    kept.ready(1.0, now)
    assert kept.crashed(now + CLEAN_RECORD_AFTER_S) == Restart(0.0)


def test_a_passing_load_failure_cools_down_ever_longer_and_success_forgets_it() -> None:
    kept = record()

    told = [kept.load_failed("no memory", permanent=False, now=0.0) for _ in range(6)]
    assert [one.retry_after_s for one in told] == [5, 10, 20, 40, 60, 60]
    assert kept.barred(59.0) is not None
    assert kept.barred(60.0) is None
    kept.ready(1.0, 61.0)
    assert kept.load_failed("no memory", permanent=False, now=70.0).retry_after_s == 5


def test_broken_files_bar_for_good_until_a_pardon() -> None:
    kept = record()
    kept.load_failed("truncated", permanent=True, now=0.0)

    barred = kept.barred(1e9)
    assert barred is not None
    assert (barred.code, barred.reason, barred.retry_after_s) == (
        "model_load_failed",
        "truncated",
        None,
    )
    kept.pardon()
    assert kept.barred(0.0) is None


@given(first_s=st.floats(0.1, 10), longest_s=st.floats(1, 1e4), times=st.integers(0, 5000))
def test_a_pause_doubles_and_stays_at_the_longest_however_long_it_goes_on(
    first_s: float, longest_s: float, times: int
) -> None:
    pause_s = backed_off_s(first_s, longest_s, times)

    assert pause_s <= longest_s
    assert backed_off_s(first_s, longest_s, times + 1) == min(2 * pause_s, longest_s)


def test_a_load_that_never_works_is_tried_once_a_minute_for_ever() -> None:
    kept = record()

    told = [kept.load_failed("no memory", permanent=False, now=60.0 * n) for n in range(2000)]

    assert {one.retry_after_s for one in told[5:]} == {60.0}


@given(moments=st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_intensity_never_allows_more_than_it_says(moments: list[float]) -> None:
    intensity = Intensity(restarts=3, window_s=60)
    allowed = [moment for moment in sorted(moments) if intensity.crashed(moment) is not None]

    for moment in allowed:
        assert sum(moment - 60 < other <= moment for other in allowed) <= 3


@pytest.mark.parametrize("state", ModelState)
def test_a_move_that_is_not_in_the_table_is_refused(state: ModelState) -> None:
    for to in ModelState:
        if to in MOVES[state]:
            assert move(state, to) is to
        else:
            with pytest.raises(IllegalMove):
                move(state, to)
