"""How many prompt tokens a step may read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.pacing import LEAST_TOKENS, Pacing


def make(target_step_s: float = 0.0) -> Pacing:
    return Pacing(
        idle_tokens=512, target_step_s=target_step_s, first_decode_s=0.05, tokens_per_s=1000
    )


class Machine:
    """A decode costs 50 ms and 4 ms a stream; a chunk 40 ms and *per_token_s* a token."""

    def __init__(self, per_token_s: float) -> None:
        self.per_token_s = per_token_s

    def decode_s(self, decoding: int) -> float:
        return 0.05 + 0.004 * decoding if decoding else 0.0

    def step_s(self, decoding: int, chunk: int) -> float:
        return self.decode_s(decoding) + (0.04 + self.per_token_s * chunk if chunk else 0.0)


def test_nobody_decoding_the_whole_step_is_for_prompts() -> None:
    assert make().budget(decoding=0) == 512


def test_the_sum_over_all_prompts_is_bounded() -> None:
    assert make().share(prefilling=8, decoding=0) == 64


@given(st.integers(1, 40), st.integers(0, 40))
def test_each_prompt_reads_something_and_together_they_keep_the_budget(
    prefilling: int, decoding: int
) -> None:
    pacing = make()

    share = pacing.share(prefilling, decoding)

    assert share >= 1
    assert share == 1 or share * prefilling <= pacing.budget(decoding)


@given(st.floats(0.0005, 0.01), st.integers(1, 16))
def test_chunk_and_decode_settle_at_two_and_a_half_decode_steps(
    per_token_s: float, decoding: int
) -> None:
    machine, pacing = Machine(per_token_s), make()
    for _ in range(10):
        pacing.measured(machine.step_s(decoding, 0), decoding, 0)
    for _ in range(60):
        chunk = pacing.budget(decoding)
        pacing.measured(machine.step_s(decoding, chunk), decoding, chunk)

    chunk = pacing.budget(decoding)

    allowed_s = 2.5 * machine.decode_s(decoding)
    at_least = machine.step_s(decoding, LEAST_TOKENS) >= allowed_s
    assert chunk == LEAST_TOKENS if at_least else chunk >= LEAST_TOKENS
    assert at_least or chunk == 512 or 0.85 < machine.step_s(decoding, chunk) / allowed_s < 1.1


def test_a_target_in_ms_takes_the_place_of_the_factor() -> None:
    generous, strict = make(target_step_s=0.4), make(target_step_s=0.08)

    assert generous.budget(1) == 350
    assert strict.budget(1) == 30


def test_the_first_chunk_after_plain_steps_leaves_time_for_the_decode_under_way() -> None:
    pacing = make()
    for _ in range(3):
        pacing.measured(0.05, 1, 0)
    first = pacing.budget(1)

    pacing.measured(0.1, 1, first)

    assert first == 25  # (2.5 - 2) decode steps
    assert pacing.budget(1) == 75


def test_steps_where_the_pipeline_turns_teach_nothing() -> None:
    pacing = make()
    for took_s, chunk in ((0.05, 0), (0.05, 0), (0.3, 25), (0.001, 0), (0.3, 25)):
        pacing.measured(took_s, 1, chunk)

    assert pacing.tokens_per_s == 1000
    assert pacing.decode_s(1) == 0.05


def test_a_step_in_which_a_stream_joined_teaches_nothing_nor_does_the_next() -> None:
    pacing = make()
    pacing.measured(0.05, 1, 0)
    pacing.joined()
    pacing.measured(9.0, 1, 0)

    assert pacing.decode_s(1) == 0.05


def test_more_streams_than_ever_seen_are_taken_for_the_most_seen() -> None:
    pacing = make()
    for _ in range(2):
        pacing.measured(0.09, 4, 0)

    assert pacing.decode_s(8) == 0.09
    assert pacing.decode_s(2) == 0.05


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 8), st.integers(0, 600)), max_size=50))
def test_the_budget_stays_within_its_bounds_whatever_is_measured(
    steps: list[tuple[float, int, int]],
) -> None:
    pacing = make()
    for took_s, decoding, chunk in steps:
        pacing.measured(took_s, decoding, chunk)

        assert all(LEAST_TOKENS <= pacing.budget(number) <= 512 for number in (1, 4, 8))


def test_waiting_for_company_costs_a_small_share_of_the_prefill() -> None:
    pacing = Pacing(512, 0.0, first_decode_s=0.05, tokens_per_s=200.0)

    assert pacing.worth_waiting_s(40) == pytest.approx(0.03 * 40 / 200)
    assert pacing.worth_waiting_s(0) == 0
