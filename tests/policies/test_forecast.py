"""Rates into waits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.admission.forecast import (
    GENERATION_TIMEOUT_S,
    PRIOR_LOAD_S,
    Forecast,
    longest_wait_s,
)
from lattice_actors.admission.verdicts import Class, Facts, Limits


def facts(prompt: float = 0.0, max_tokens: int = 100) -> Facts:
    return Facts(
        "m",
        "ann",
        Class.NORMAL,
        0,
        0.0,
        math.inf,
        math.inf,
        prompt + max_tokens,
        prompt,
        max_tokens,
    )


def measured(decode_tokens_per_s: float = 10.0, prefill_tokens_per_s: float = 100.0) -> Forecast:
    """A forecast that expects answers of full length."""
    forecast = Forecast()
    for _ in range(200):
        forecast.observed_finish(
            "m",
            prompt_tokens=round(prefill_tokens_per_s * 10),
            prompt_bytes=round(prefill_tokens_per_s * 40),
            completion_tokens=1001,
            max_tokens=1001,
            decode_s=1000 / decode_tokens_per_s,
            ttft_s=10.0,
        )
    return forecast


def test_service_is_prefill_and_decode_at_the_measured_rates() -> None:
    assert measured().service_s(facts(prompt=200, max_tokens=50)) == pytest.approx(7.0, rel=1e-3)


def test_answers_that_stop_early_make_the_expectation_shorter_but_not_the_ceiling() -> None:
    forecast = measured()
    for _ in range(100):
        forecast.observed_finish(
            "m",
            prompt_tokens=1000,
            prompt_bytes=4000,
            completion_tokens=101,
            max_tokens=1010,
            decode_s=10.0,
            ttft_s=10.0,
        )

    assert forecast.service_s(facts(max_tokens=100)) == pytest.approx(1.0, rel=0.01)
    assert forecast.ceiling_s(facts(max_tokens=100)) == pytest.approx(10.0, rel=0.01)


def test_no_answer_is_expected_to_outlive_the_generation_timeout() -> None:
    assert measured().ceiling_s(facts(max_tokens=1_000_000)) == GENERATION_TIMEOUT_S


def test_prompt_estimates_start_at_three_and_a_half_bytes_and_follow_the_measured_ratio() -> None:
    assert Forecast().estimate_prompt_tokens("new", 350) == pytest.approx(100)
    assert measured().estimate_prompt_tokens("m", 400) == pytest.approx(100, rel=0.01)


def test_tiny_prompts_do_not_spoil_the_estimate_of_large_ones() -> None:
    forecast = measured()
    forecast.observed_finish(
        "m",
        prompt_tokens=30,
        prompt_bytes=2,
        completion_tokens=5,
        max_tokens=10,
        decode_s=1.0,
        ttft_s=1.0,
    )

    assert forecast.estimate_prompt_tokens("m", 40_000) == pytest.approx(10_000, rel=0.05)


def test_the_first_load_replaces_the_guess_and_later_ones_shift_it() -> None:
    forecast = Forecast()
    assert forecast.load_s("m") == PRIOR_LOAD_S

    forecast.observed_load("m", 20.0)
    assert forecast.load_s("m") == pytest.approx(20.0, rel=0.01)
    forecast.observed_load("m", 10.0)
    assert 10.0 < forecast.load_s("m") < 20.0


def test_the_warm_up_gives_the_rates_until_answers_do() -> None:
    forecast = Forecast()
    forecast.ready("m", decode_step_s=0.1, prefill_tokens_per_s=100.0)
    assert forecast.ceiling_s(facts(prompt=100, max_tokens=10)) == pytest.approx(2.0)

    forecast = measured()
    forecast.ready("m", decode_step_s=1.0, prefill_tokens_per_s=1.0)
    assert forecast.ceiling_s(facts(prompt=100, max_tokens=10)) == pytest.approx(2.0, rel=0.01)


def test_empty_observations_change_nothing() -> None:
    forecast = Forecast()
    before = forecast.service_s(facts())

    forecast.observed_finish(
        "m",
        prompt_tokens=0,
        prompt_bytes=0,
        completion_tokens=0,
        max_tokens=0,
        decode_s=0.0,
        ttft_s=0.0,
    )

    assert forecast.service_s(facts()) == before


def test_waiters_start_as_slots_come_free() -> None:
    forecast = measured()  # 100 tokens take 10 s
    running = [(facts(), 4.0), (facts(), 7.0)]

    starts = forecast.starts_s(2, running, [facts(), facts(), facts()])

    assert starts == pytest.approx([3.0, 6.0, 13.0], rel=0.01)


def test_nobody_starts_before_the_model_is_ready() -> None:
    starts = measured().starts_s(2, [], [facts(), facts(), facts()], first_s=5.0)

    assert starts == pytest.approx([5.0, 5.0, 15.0], rel=0.01)


def test_no_cap_means_no_wait() -> None:
    assert Forecast().starts_s(0, [(facts(), 0.0)], [facts()] * 3) == [0.0, 0.0, 0.0]


@given(
    slots=st.integers(1, 4),
    ran=st.lists(st.floats(0, 400), max_size=6),
    waiting=st.lists(st.integers(1, 400), max_size=20),
    first=st.floats(0, 50),
)
def test_starts_are_in_order_and_never_more_than_slots_run(
    slots: int, ran: list[float], waiting: list[int], first: float
) -> None:
    forecast = measured()
    running = [(facts(), seconds) for seconds in ran]
    line = [facts(max_tokens=tokens) for tokens in waiting]

    starts = forecast.starts_s(slots, running, line, first)

    assert starts == sorted(starts)
    assert all(start >= first for start in starts)
    ends = [forecast.remaining_s(*pair) for pair in running]
    ends += [start + forecast.service_s(f) for start, f in zip(starts, line, strict=True)]
    begins = [-1.0] * len(running) + starts
    for start in starts:
        alive = sum(b <= start < e - 1e-9 for b, e in zip(begins, ends, strict=True))
        assert alive <= slots


def test_the_bound_with_the_default_settings() -> None:
    limits = Limits()

    resident = [
        longest_wait_s(limits, klass, slots=8, service_s=10.0, own=own, keys=keys)
        for klass, own, keys in [
            (Class.INTERACTIVE, 1, 40),
            (Class.NORMAL, 1, 40),
            (Class.BATCH, 32, 1),
            (Class.INTERACTIVE, 1, 3),
        ]
    ]
    swapping = longest_wait_s(
        limits, Class.NORMAL, slots=8, service_s=10.0, own=1, keys=8, models=2, load_s=6.0
    )

    assert resident == [45.0, 50.0, 55.0, 15.0]  # the worked numbers of docs/scheduling.md
    assert swapping == 10 + 2 * (5 + 10 + 6)
