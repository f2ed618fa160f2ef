"""Histograms, windows and merge patches: what they promise, for any input."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.metrics.histograms import Buckets, Histogram
from lattice_actors.metrics.patches import apply, difference, without_nulls
from lattice_actors.metrics.windows import SPANS, TICKS_PER_S, Tally, Windows

VALUES = st.floats(1e-6, 1e6)
SHARES = (0.5, 0.95, 0.99, 1.0)
KEY = ("tokens", "", "")


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(st.lists(VALUES, min_size=1))
def test_a_percentile_is_off_by_a_sixteenth_at_most(values: list[float]) -> None:
    ordered = sorted(values)

    for share, found in zip(SHARES, histogram(values).percentiles(SHARES), strict=True):
        exact = ordered[max(1, math.ceil(share * len(ordered))) - 1]
        assert abs(found - exact) <= exact / 16


@given(st.lists(VALUES), st.lists(VALUES))
def test_merging_is_recording_both(some: list[float], others: list[float]) -> None:
    merged = histogram(some)
    merged.add(histogram(others))
    both = histogram(some + others)

    assert merged.counts == both.counts
    assert merged.count == both.count
    assert math.isclose(merged.total, both.total, abs_tol=1e-9)
    assert merged.percentiles(SHARES) == both.percentiles(SHARES)


@given(VALUES, st.integers(1, 50))
def test_recording_with_a_weight_is_recording_so_often(value: float, times: int) -> None:
    weighted = Histogram()
    weighted.record(value, times)

    assert weighted.counts == histogram([value] * times).counts


def test_what_is_no_number_or_no_time_counts_as_nothing() -> None:
    made = histogram([math.nan])
    made.record(1.0, 0)

    assert made == Histogram()
    assert made.percentiles(SHARES) == ()
    assert math.isnan(made.mean)


@given(st.lists(st.floats(0, 20)))
def test_buckets_count_what_is_at_or_below_each_bound(values: list[float]) -> None:
    buckets = Buckets((1.0, 5.0, 10.0))
    for value in values:
        buckets.record(value)

    for index, bound in enumerate(buckets.bounds):
        assert sum(buckets.counts[: index + 1]) == sum(value <= bound for value in values)
    assert sum(buckets.counts) == len(values)


STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.03, 0.1, 0.7, 1.0, 4.9, 60.0, 899.0, 5000.0]), VALUES),
    max_size=60,
)


@given(st.floats(0, 1e5), STEPS)
def test_a_window_has_all_of_its_slots_and_nothing_else(
    began: float, steps: list[tuple[float, float]]
) -> None:
    windows, now, seen = Windows(began), began, list[tuple[int, float]]()
    for pause, value in steps:
        now += pause
        windows.advance(now)
        windows.now.count(KEY)
        windows.now.record(KEY, value)
        seen.append((int(now * TICKS_PER_S), value))

    tick = int(now * TICKS_PER_S)
    for level, span in enumerate(SPANS):
        first = tick // span.ticks - span.slots
        inside = [value for at, value in seen if at // span.ticks >= first]
        total = windows.total(level)
        assert total.sums.get(KEY, 0) == len(inside)
        counts = total.histograms.get(KEY, Histogram()).counts
        assert counts == histogram(inside).counts


@given(st.floats(0, 1e5), st.lists(st.floats(0, 2), max_size=60))
def test_each_second_is_handed_out_once(began: float, pauses: list[float]) -> None:
    windows, now = Windows(began), began
    handed: list[tuple[int, Tally]] = []
    for pause in pauses:
        now += pause
        second = windows.advance(now)
        if second is not None:
            handed.append(second)
        windows.now.count(KEY)
    last = windows.advance(now + 1)
    if last is not None:
        handed.append(last)

    numbers = [number for number, _ in handed]
    assert numbers == sorted(set(numbers))
    assert sum(tally.sums[KEY] for _, tally in handed) == len(pauses)


@given(st.floats(0, 1e5), st.floats(0, 5000))
def test_a_window_is_about_no_more_than_has_passed(began: float, passed: float) -> None:
    windows = Windows(began)

    for level, span in enumerate(SPANS):
        covers = windows.covers_s(level, began + passed)
        assert covers <= max(passed, 0.1) + 1e-6
        assert covers <= span.ticks * (span.slots + 1) / TICKS_PER_S + 1e-6


LEAVES = st.none() | st.booleans() | st.integers(2, 9) | st.text("ab", max_size=2)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text("abc", max_size=2), JSON, max_size=5).map(without_nulls)


@given(DOCUMENTS, DOCUMENTS)
def test_the_difference_leads_from_one_document_to_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    patched = apply(before, difference(before, after))

    assert patched == after


@given(DOCUMENTS)
def test_equal_documents_have_no_difference(document: dict[str, Any]) -> None:
    assert difference(document, document) == {}
