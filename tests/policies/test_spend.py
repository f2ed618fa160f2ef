"""What the cloud costs is counted to the micro-dollar, and never more than the cap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.remote.spend import DAY_S, CapReached, NoPrice, Price, Spend, TokenCounts

PRICE = Price(3.0, 15.0, cached=0.3, written=3.75)
NOON = 20_000.5 * DAY_S


def test_each_kind_of_token_has_its_price() -> None:
    assert PRICE.micros(plain=1_000_000) == 3_000_000
    assert PRICE.micros(plain=0, output=1000, cached=1000, written=1000) == 15_000 + 300 + 3750
    assert Price(3.0, 15.0).micros(plain=0, cached=10, written=10) == 60
    assert PRICE.micros(plain=0, cached=1) == 1  # rounded up


def test_what_an_answer_came_to_takes_the_place_of_what_was_set_aside() -> None:
    spend = Spend({"m": PRICE}, cap_micros=1_000_000)
    held = spend.hold("m", 1000, 1000, NOON)

    assert spend.view(NOON).held_usd == pytest.approx(0.018)
    spend.settle(held, NOON, TokenCounts(plain=100, cached=900, output=10))

    view = spend.view(NOON)
    assert (view.held_usd, view.requests) == (0, 1)
    assert view.spent_usd == pytest.approx((300 + 270 + 150) / 1e6)
    assert (view.input_tokens, view.cached_tokens, view.output_tokens) == (1000, 900, 10)


def test_the_refusal_names_the_cap_and_when_it_resets() -> None:
    spend = Spend({"m": PRICE}, cap_micros=20_000)
    spend.hold("m", 0, 1000, NOON)

    with pytest.raises(CapReached) as refused:
        spend.hold("m", 0, 1000, NOON)

    assert "daily cap of $0.02" in str(refused.value)
    assert "resets at 2024-10-05T00:00:00Z" in str(refused.value)
    assert refused.value.retry_after_s == DAY_S / 2


def test_the_next_day_begins_anew_and_remembers_what_runs() -> None:
    spend = Spend({"m": PRICE}, cap_micros=20_000)
    spend.settle(spend.hold("m", 0, 1000, NOON), NOON, TokenCounts(output=1000))
    with pytest.raises(CapReached):
        spend.hold("m", 0, 1000, NOON)

    tomorrow = NOON + DAY_S
    running = spend.hold("m", 0, 1000, tomorrow)

    assert spend.view(tomorrow).spent_usd == 0
    with pytest.raises(CapReached):
        spend.hold("m", 0, 1000, tomorrow)
    assert spend.view(NOON).day == spend.view(tomorrow).day  # a clock that was set back
    spend.settle(running, tomorrow, TokenCounts())
    assert spend.view(tomorrow).held_usd == 0


def test_a_model_without_a_price_is_counted_apart_and_not_asked_under_a_cap() -> None:
    free = Spend()
    free.settle(free.hold("m", 9, 9, NOON), NOON, TokenCounts(plain=5, output=6))

    assert free.view(NOON).unpriced_requests == 1
    assert (free.view(NOON).input_tokens, free.view(NOON).spent_usd) == (5, 0)
    with pytest.raises(NoPrice):
        Spend(cap_micros=1).hold("m", 1, 1, NOON)


ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 5000), st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1), st.booleans()
    ),
    max_size=30,
)


@given(ANSWERS, st.integers(1, 200_000))
def test_the_cap_holds_whatever_runs_at_once(
    answers: list[tuple[int, int, float, float, bool]], cap: int
) -> None:
    """As long as answers keep to what they were granted."""
    spend = Spend({"m": PRICE}, cap_micros=cap)
    running = []
    for prompt, most, of_prompt, of_answer, ends in answers:
        try:
            held = spend.hold("m", prompt, most, NOON)
        except CapReached:
            continue
        running.append((held, int(prompt * of_prompt), int(most * of_answer)))
        if ends:
            held, plain, output = running.pop(0)
            spend.settle(held, NOON, TokenCounts(plain=plain, output=output))
        assert (spend.view(NOON).spent_usd + spend.view(NOON).held_usd) * 1e6 <= cap + 0.01
    for held, plain, output in running:
        spend.settle(held, NOON, TokenCounts(plain=plain, output=output))

    assert spend.view(NOON).held_usd == 0
    assert spend.view(NOON).spent_usd * 1e6 <= cap + 0.01
