"""Names that tools have built in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.aliases import meaning
from lattice_actors.capability.resolver import Ask, Candidate, NoRoute, Route, Rules, resolve
from lattice_actors.capability.spec import BUILT_IN_PLACEHOLDERS

ALIASES = (("claude-*", "role:fast"), ("Claude-Opus-4", "big"), ("gpt-4o", "small,big"))
HERE = (Candidate("big"), Candidate("small"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpt-4o", "small,big"),
        (" GPT-4o ", "small,big"),
        ("claude-opus-4", "big"),  # the exact one, though the other comes first
        ("claude-sonnet-4-5-20250929", "role:fast"),
        ("claude-", "role:fast"),
        ("my-claude-3", None),  # the pattern is the whole name
        ("gpt-4o,big", None),  # a list is no name
        ("", None),
        (None, None),
    ],
)
def test_a_whole_name_has_a_meaning(name: str | None, meant: str | None) -> None:
    assert meaning(name, ALIASES, ()) == meant


@given(st.text(max_size=12), st.lists(st.text("ab*[.(", max_size=6), max_size=4))
def test_a_model_that_exists_means_itself_and_no_sign_but_the_star_is_special(
    name: str, patterns: list[str]
) -> None:
    aliases = [(pattern, "x") for pattern in patterns]

    assert meaning(name, aliases, {name.strip().casefold()}) is None
    for pattern in patterns:
        if pattern.strip() == pattern:
            assert meaning(pattern.replace("*", "q"), aliases, ()) == "x"


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=5), st.text("ab", max_size=12))
def test_a_star_stands_for_any_text(parts: list[str], name: str) -> None:
    meant = meaning(name, [("*".join(parts), "x")], ())

    assert (meant == "x") == (re.fullmatch(".*".join(parts), name) is not None)


def test_a_name_that_almost_fits_many_stars_is_looked_at_once() -> None:
    """With a regular expression this took hours."""
    assert meaning("ab" * 8000, [("*a*b*a*c", "x")], ()) is None


def routed(spec: str, **rules: object) -> Route | NoRoute:
    return resolve(Ask(spec), HERE, Rules(aliases=ALIASES, **rules))  # type: ignore[arg-type]


def test_the_meaning_is_resolved_and_announced() -> None:
    assert "gpt-4o" in BUILT_IN_PLACEHOLDERS  # an alias goes before that
    found = routed("gpt-4o")

    assert isinstance(found, Route)
    assert (found.model, found.alternatives) == ("small", ("big",))
    assert found.resolution == "alias (requested 'gpt-4o', meaning 'small,big')"


def test_a_meaning_that_nothing_answers_to_says_both() -> None:
    fallback, missed = routed("claude-x"), routed("claude-x", on_miss="error")

    assert isinstance(fallback, Route)
    assert fallback.resolution == (
        "alias (requested 'claude-x', meaning 'role:fast'); "
        "fallback (requested 'role:fast', not present)"
    )
    assert isinstance(missed, NoRoute)
    assert missed.message.startswith("alias (requested 'claude-x', meaning 'role:fast'): no model")


def test_a_forced_default_knows_no_aliases() -> None:
    found = routed("gpt-4o", force_default=True, default_model="big")

    assert isinstance(found, Route)
    assert found.model == "big"
    assert "alias" not in (found.resolution or "")
