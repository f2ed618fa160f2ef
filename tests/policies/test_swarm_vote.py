"""Who wins without a judge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.swarm.events import Row
from lattice_actors.swarm.vote import longest, majority, majority_is_clear, short_answer

answers = st.lists(st.sampled_from(["42", "The answer is 42.", "41", "**41**", "x"]), min_size=1)


def rows(*texts: str) -> list[Row]:
    return [Row(n, "m", "m", ok=True, text=text) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        (" **42**. ", "42"),
        ("1,234.50", "1234.5"),
        ("$1,234.5", "1234.5"),
        ("+7", "7"),
        ("007", "7"),
        ("-0.0", "0"),
        ("The answer is 42.", "42"),
        ("2 + 2 = 4, so the final answer is: 4", "4"),
        ("The answer is 3.14. It is a ratio.", "3.14"),
        ("The answer is 3? No, the answer is 4.", "4"),
        ("Answer: Paris!", "paris"),
        ("the answer is the Seine", "seine"),
        (r"so \boxed{\frac{1}{2}} is it; the answer is 3", r"\frac{1}{2}"),
        (r"\boxed{1} \boxed{2}", "2"),
        ("“Paris”", "paris"),
        ("A", "a"),
        ("a", "a"),
        ("...", "..."),
        ("50%", "50%"),
        ("٣", "3"),  # a digit, too
        ("", ""),
    ],
)
def test_equal_answers_are_equal_texts(text: str, answer: str) -> None:
    assert short_answer(text) == answer


@given(st.text(max_size=200))
def test_any_text_has_a_short_answer(text: str) -> None:
    once = short_answer(text)

    assert short_answer(text) == once
    if text.strip():
        assert once


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9
    )
)
def test_a_number_is_the_same_however_it_is_written(number: object) -> None:
    plain, grouped = f"{number}", f"{number:,}"

    assert short_answer(plain) == short_answer(grouped) == short_answer(f"The answer is {plain}0")


@given(answers)
def test_no_answer_was_given_more_often_than_the_winner(texts: list[str]) -> None:
    tally = majority(rows(*texts))
    keys = [short_answer(text) for text in texts]

    assert tally.agree == max(keys.count(key) for key in keys)
    assert keys.count(short_answer(tally.winner.text)) == tally.agree
    assert sum(vote.share for vote in tally.votes) == pytest.approx(1)
    assert tally.votes[0].branch == tally.winner.branch


@given(answers, answers)
def test_a_majority_that_is_clear_stays(texts: list[str], late: list[str]) -> None:
    if majority_is_clear(rows(*texts), len(late)):
        before = short_answer(majority(rows(*texts)).winner.text)
        assert short_answer(majority(rows(*texts, *late)).winner.text) == before


def test_ties_go_to_the_shorter_answer_then_to_the_earlier() -> None:
    assert majority(rows("longer", "abc")).winner.text == "abc"
    assert majority(rows("abc", "xyz")).winner.branch == 0
    assert longest(rows("abc", "xyz", "z")).branch == 0
