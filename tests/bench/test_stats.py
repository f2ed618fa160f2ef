"""Percentiles, intervals, prompts and tables: the pure parts."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_bench.answers import Answer, Run
from lattice_bench.limit import BareRun, summary
from lattice_bench.prompts import fit_words, prompt
from lattice_bench.report import document, level, limit_text, load_text, ms, plain, table
from lattice_bench.stats import paired_ratio, percentile, spread, tail_ratio

FLOATS = st.floats(0.001, 1e6)


@given(st.lists(FLOATS, min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_are_ordered_and_inside(values: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))

    assert min(values) <= percentile(values, low) * (1 + 1e-9)
    assert percentile(values, low) <= percentile(values, high) * (1 + 1e-9)
    assert percentile(values, high) <= max(values) * (1 + 1e-9)


def test_a_percentile_is_interpolated() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([1, 2], 0.99) == 1.99
    assert percentile([7], 0.99) == 7


def test_the_spread_of_nothing_is_none() -> None:
    assert spread([]) is None


@given(st.lists(FLOATS, min_size=1, max_size=30), st.floats(0.5, 2))
def test_a_constant_ratio_is_certain(theirs: list[float], factor: float) -> None:
    ratio = paired_ratio([value * factor for value in theirs], theirs)

    assert ratio is not None
    assert ratio.pairs == len(theirs)
    assert [ratio.median, ratio.low, ratio.high] == pytest.approx([factor] * 3)


def test_the_interval_covers_the_truth_and_shrinks_with_pairs() -> None:
    draw = random.Random(1)
    noise = [math.exp(draw.gauss(0, 0.1)) for _ in range(400)]

    few, many = paired_ratio(noise[:20], [1.0] * 20), paired_ratio(noise, [1.0] * 400)

    assert few is not None
    assert many is not None
    assert few.low < 1 < few.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_pairs_protect_against_a_machine_that_slows_down() -> None:
    theirs = [1.0, 2.0, 4.0, 8.0]

    ratio = paired_ratio([1.1, 2.2, 4.4, 8.8], theirs)

    assert ratio is not None
    assert ratio.high == pytest.approx(1.1)


def test_a_tail_is_that_of_all_rounds_together() -> None:
    theirs = [[1.0, 1.0, 1.0], [1.0, 1.0, 10.0], [1.0, 1.0, 1.0]]

    ratio = tail_ratio([[2 * value for value in one] for one in theirs], theirs, 1.0)

    assert ratio is not None
    assert (ratio.pairs, ratio.median, ratio.low, ratio.high) == (3, 2.0, 2.0, 2.0)


def test_a_round_that_one_side_lacks_is_no_pair() -> None:
    ratio = tail_ratio([[1.0], []], [[1.0], [1.0]], 0.95)

    assert ratio is not None
    assert ratio.pairs == 1
    assert tail_ratio([[]], [[1.0]], 0.95) is None


@given(st.integers(0, 10**6), st.integers(1, 200))
def test_prompts_are_reproducible_and_grow_by_the_word(number: int, words: int) -> None:
    assert prompt(number, words) == prompt(number, words)
    assert len(prompt(number, words + 1).split()) == len(prompt(number, words).split()) + 1


def test_prompts_differ_from_their_beginning_on() -> None:
    beginnings = {" ".join(prompt(number, 8).split()[:2]) for number in range(50)}

    assert len(beginnings) > 45


def test_words_are_fitted_to_the_measured_template() -> None:
    assert fit_words(40, 40, 75) == 5
    assert fit_words(40, 1, 200) == 1


def answer(ttft_s: float, tokens: int, error: str | None = None) -> Answer:
    gaps = [0.5] * (tokens - 1)
    ended = 10 + ttft_s + sum(gaps)
    return Answer(10.0, ended, ttft_s, gaps, tokens, tokens, 40, 30, "length", True, error)


def test_a_level_counts_only_good_answers() -> None:
    one = level(Run(2, (answer(1.0, 3), answer(3.0, 3), answer(9.0, 3, "503: no"))))

    assert one.ttft_s is not None
    assert one.ttft_s.p50 == 2.0
    assert one.stream_tokens_per_s is not None
    assert one.stream_tokens_per_s.p50 == 2.0
    assert one.tokens_per_s == pytest.approx(6 / 10.0)  # the failed one took its time, too
    assert one.errors == {"503: no": 1}
    assert "2 streams, 1 times: 503: no" in load_text([one])


def test_a_load_where_everything_failed_has_a_table_too() -> None:
    text = load_text([level(Run(1, (answer(1.0, 1, "503: no"),)))])

    assert text.splitlines()[2].split()[:4] == ["1", "1", "1", "-"]


def test_streams_are_compared_by_the_order_of_their_first_tokens() -> None:
    run = Run(2, (answer(3.0, 2), answer(1.0, 2)))
    bare = BareRun([1.0, 2.0], 4, 2.0, 40)

    one = summary([(run, bare)], 2, 2, [])

    assert one.worst_ttft is not None
    assert one.worst_ttft.median == 1.5  # 1/1 and 3/2
    assert one.ttft is not None
    assert one.ttft.median == pytest.approx(2.0 / 1.5)
    assert one.tokens_per_s is not None
    assert one.tokens_per_s.median == pytest.approx((4 / 3.5) / (4 / 2.0))
    assert "1.500" in limit_text([one])


def test_a_comparison_without_a_good_pair_says_so() -> None:
    one = summary([], 1, 64, ["503: no"])

    assert (one.ttft, one.failed) == (None, 1)
    assert "503: no" in limit_text([one])


def test_columns_are_aligned() -> None:
    assert table([["a", "bb"], ["ccc", "d"]]) == "a    bb\n---  --\nccc   d\n"


def test_small_times_have_more_digits() -> None:
    assert ms(spread([0.0012])) == "1.20 (1.20-1.20)"
    assert ms(spread([0.12])) == "120.0 (120.0-120.0)"


def test_the_document_is_strict_json_with_the_machine() -> None:
    value = json.loads(document("load", levels=[level(Run(1, ()))], odd=math.nan))

    assert value["machine"]["cores"] >= 1
    assert value["levels"][0]["ttft_s"] is None
    assert value["odd"] is None
    assert value["command"]


def test_nested_values_become_plain() -> None:
    assert plain({1: (spread([1.0]),)}) == {
        "1": [{"n": 1, "p50": 1, "p25": 1, "p75": 1, "p95": 1, "p99": 1, "low": 1, "high": 1}]
    }
