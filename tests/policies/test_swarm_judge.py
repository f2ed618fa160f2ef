"""The judge: a preference for a place must not win, and any number of candidates can be asked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lattice_actors.generation import TokenLogprob
from lattice_actors.swarm import judge
from lattice_actors.swarm.judge import Ballot, Order
from lattice_actors.swarm.letters import read_letter

few = st.integers(2, 26)


def forced(order: Order, scores: Sequence[float], places: Sequence[float]) -> Ballot:
    """A judge whose liking for a candidate and for a place add up."""
    weights = [scores[c] + places[i] for i, c in enumerate(order.shown)]
    whole = math.log(sum(map(math.exp, weights)))
    top = [
        (label.encode(), weight - whole)
        for label, weight in zip(order.labels, weights, strict=True)
    ]
    best = max(top, key=lambda each: each[1])
    return judge.ballot(order, TokenLogprob(*best, top))


@given(st.data(), st.integers(2, judge.ROTATIONS))
def test_a_liking_for_places_cancels_out(data: st.DataObject, count: int) -> None:
    liking = st.lists(st.floats(-5, 5), min_size=count, max_size=count)
    scores, places = data.draw(liking), data.draw(liking)
    ordered = sorted(scores)
    assume(ordered[-1] - ordered[-2] > 0.2)
    heat = judge.heats(range(count), seed=3)[0]

    counted = judge.count([forced(order, scores, places) for order in judge.orders(heat)])

    assert judge.winner(counted.shares, dict.fromkeys(range(count), 1)) == scores.index(ordered[-1])
    assert sum(counted.shares.values()) == pytest.approx(1)
    assert counted.mass == pytest.approx(1)


@given(st.integers(1, 120), st.integers())
def test_every_candidate_is_in_one_heat_and_has_a_letter(count: int, seed: int) -> None:
    heats = judge.heats(range(count), seed)

    assert sorted(candidate for heat in heats for candidate in heat) == list(range(count))
    assert all(len(heat) <= len(judge.LABELS) for heat in heats)
    assert judge.heats(range(count), seed) == heats


@given(few)
def test_in_each_order_everyone_stands_once_and_nobody_twice_at_a_place(count: int) -> None:
    orders = judge.orders(range(count))

    assert len(orders) == min(count, judge.ROTATIONS)
    assert all(sorted(order.shown) == list(range(count)) for order in orders)
    for candidate in range(count):
        places = [order.shown.index(candidate) for order in orders]
        assert len(set(places)) == len(places)


@given(st.integers(1, 200), st.integers(1, 200))
def test_fewer_candidates_never_need_more_questions(some: int, more: int) -> None:
    fewer, most = sorted((some, more))

    assert judge.most_questions(fewer) <= judge.most_questions(most)


def test_a_single_candidate_is_not_judged() -> None:
    assert judge.most_questions(1) == 0
    assert judge.most_questions(2) == 2  # both orders
    assert judge.most_questions(27) == 10  # two heats and a final


def test_a_letter_after_a_space_counts_and_an_unseen_one_is_least_likely() -> None:
    order = Order((7, 8, 9))
    top = [(b" A", math.log(0.5)), (b"A", math.log(0.25)), (b"x", math.log(0.1))]

    ballot = judge.ballot(order, TokenLogprob(b"B", math.log(0.02), top))

    assert [math.exp(logprob) for logprob in ballot.logprobs] == pytest.approx([0.75, 0.02, 0.1])
    assert ballot.mass == pytest.approx(0.77)


def test_equal_shares_go_to_the_shorter_answer() -> None:
    assert judge.winner({0: 0.4, 1: 0.395, 2: 0.205}, {0: 90, 1: 10, 2: 1}) == 1
    assert judge.winner({1: 0.5, 0: 0.5}, {0: 3, 1: 3}) == 0


def test_candidates_are_anonymous_and_in_order() -> None:
    system, user = judge.voting_messages("why?", ["because", "no"])

    assert system["role"] == "system"
    assert user["content"].index("Answer A:\nbecause") < user["content"].index("Answer B:\nno")
    assert user["content"].endswith("one letter only: A, B.")
    assert json.loads(judge.choice(Order((4, 2))).text) == ["A", "B"]


def test_the_request_is_shown_as_it_is_or_with_its_roles() -> None:
    one = {"role": "user", "content": [{"type": "text", "text": "why?"}, {"type": "image_url"}]}

    assert judge.request_text([one]) == "why?"
    assert (
        judge.request_text([{"role": "system", "content": "s"}, one]) == "[system] s\n\n[user] why?"
    )
    assert judge.request_text([{"role": "assistant", "content": None}, one]) == ("why?")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("**C**", "C"),
        ("(A)", "A"),
        ("A better answer would be B", "B"),
        ("A good answer is **B**.", "B"),
        ("Answer: B", "B"),
        ("The best answer is A", "A"),
        ("The winner is answer C.", "C"),
        ("I choose B, as A is wrong.", "B"),
        ("Answer A is better than B.", "A"),
        ("B. Because it is right. A is not.", "B"),
        ("Let me think.\n\n**A**\n", "A"),
        ("I think A is worse than B.", "B"),
        ("My first choice is A. No: my choice is C.", "C"),
        ("As I said, a close call", None),
        ("A or B, both are fine", None),
        ("D", None),
        ("", None),
    ],
)
def test_prose_is_read_for_the_letter_it_means(text: str, letter: str | None) -> None:
    assert read_letter(text, "ABC") == letter


@given(st.text(alphabet="AaBbI *().:\nis answer", max_size=80), few)
def test_only_a_label_is_ever_read(text: str, count: int) -> None:
    labels = judge.LABELS[:count]

    assert read_letter(text, labels) in {*labels, None}
