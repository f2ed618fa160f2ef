"""Stop strings over token borders, and characters over token borders."""

# ruff: noqa: ANN401  mlx-lm's tokenizer is untyped
from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx_lm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.detokenizing import AnswerText, StopMatcher

STOPS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=0, max_size=4)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return mlx_lm.load(str(tiny_model))[1]


def before_first_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """The law, letter by letter: the first stop to be complete wins, then the longest."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@given(st.text("abc", max_size=30), STOPS, st.data())
def test_the_answer_ends_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    matcher = StopMatcher(tuple(stops))
    shown, rest = "", text
    while rest and not matcher.stopped:
        size = data.draw(st.integers(1, len(rest)))
        shown += matcher.feed(rest[:size])
        rest = rest[size:]
        assert text.startswith(shown)
    shown += matcher.flush()

    assert (shown, matcher.stopped) == before_first_stop(text, stops)
    assert text.startswith(shown + matcher.met)
    assert bool(matcher.met) == matcher.stopped
    assert matcher.met in ["", *stops]


@given(st.text("abc", max_size=30), STOPS)
def test_no_more_is_held_back_than_could_begin_a_stop(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(tuple(stops))

    shown = "".join(map(matcher.feed, text))

    held = text[len(shown) :]
    if not matcher.stopped:
        assert not held or any(s.startswith(held) and s != held for s in stops)


def test_nothing_comes_after_a_stop() -> None:
    matcher = StopMatcher(("END",))

    assert [matcher.feed(text) for text in ("one E", "ND two", "three")] == ["one ", "", ""]
    assert matcher.flush() == ""


def test_a_character_of_several_tokens_comes_whole(tokenizer: Any) -> None:
    tokens = tokenizer.encode("aé😀b", add_special_tokens=False)
    text = AnswerText.of(tokenizer, [])

    pieces = [text.add(token) for token in tokens]

    assert len(tokens) > 4
    assert [piece for piece in pieces if piece] == ["a", "é", "😀", "b"]
    assert text.end() == ""


def test_an_unfinished_character_is_replaced_at_the_end(tokenizer: Any) -> None:
    tokens = tokenizer.encode("a😀", add_special_tokens=False)
    text = AnswerText.of(tokenizer, [])

    shown = "".join(map(text.add, tokens[:-1]))

    assert shown == "a"
    assert text.end() == "\ufffd"


def test_a_stop_string_may_be_cut_by_tokens_and_empty_ones_count_for_nothing(
    tokenizer: Any,
) -> None:
    text = AnswerText.of(tokenizer, ["", "lo wor"])

    shown = [text.add(token) for token in tokenizer.encode("hello world", add_special_tokens=False)]

    assert "".join(shown) == "hel"
    assert text.stopped


def test_what_a_stop_check_held_back_comes_at_the_end(tokenizer: Any) -> None:
    text = AnswerText.of(tokenizer, ["cd!"])

    shown = [text.add(token) for token in tokenizer.encode("abcd", add_special_tokens=False)]

    assert ("".join(shown), text.end(), text.stopped) == ("ab", "cd", False)
