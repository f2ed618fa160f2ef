"""The cloud is reached by whole names only, and otherwise never by accident."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.hints import Hints
from lattice_actors.capability.profiles import Profile
from lattice_actors.capability.question import Ask, Candidate, NoRoute, Route, Rules
from lattice_actors.capability.resolver import resolve


def cloud(model: str, *, by_name: bool = False, **fields: Any) -> Candidate:  # noqa: ANN401 - of Candidate
    return Candidate(
        f"anthropic/{model}",
        Profile(context_window=200_000, supports_vision=True),
        "anthropic",
        locality="cloud",
        name=model if by_name else "",
        **fields,
    )


SONNET, HAIKU = cloud("claude-sonnet-9"), cloud("claude-haiku-9", by_name=True)
HERE = Candidate("qwen-7b")
ALL = (HERE, SONNET, HAIKU)
RULES = Rules(
    roles={"coder": ["sonnet", "qwen"], "best": ["anthropic/claude-haiku-9", "qwen"]},
    cloud_model="anthropic/claude-sonnet-9",
)


def asked(spec: str | None, candidates: Any = ALL, rules: Rules = RULES, **fields: Any) -> Any:  # noqa: ANN401 - of Ask
    return resolve(Ask(spec, **fields), candidates, rules)


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("anthropic", "anthropic/claude-sonnet-9"),
        ("ANTHROPIC", "anthropic/claude-sonnet-9"),
        ("anthropic:claude-haiku-9", "anthropic/claude-haiku-9"),
        ("anthropic/claude-haiku-9", "anthropic/claude-haiku-9"),
        ("anthropic-claude-haiku-9", "anthropic/claude-haiku-9"),
        ("anthropic-claude-sonnet-9", "anthropic/claude-sonnet-9"),
        ("claude-haiku-9", "anthropic/claude-haiku-9"),
        ("role:nobody,anthropic-claude-haiku-9", "anthropic/claude-haiku-9"),
        ("nothing+anthropic", "anthropic/claude-sonnet-9"),
        ("anthropic:claude-unheard-of,qwen", "qwen-7b"),
        ("qwen,anthropic", "qwen-7b"),
        ("role:best", "anthropic/claude-haiku-9"),
    ],
)
def test_who_answers_when_the_cloud_is_named(spec: str, model: str) -> None:
    found = asked(spec)

    assert isinstance(found, Route)
    assert found.model == model


@pytest.mark.parametrize(
    "spec",
    [
        *(None, "auto", "default", "claude-3-opus", "claude-sonnet-9", "claude", "sonnet"),
        *("claude*", "*", "anthro", "role:coder", "role:nobody", "gpt-4o", "nonsense"),
        *("anthropic:claude-unheard-of", "anthropic-sonnet"),
    ],
)
def test_nothing_else_leaves(spec: str | None) -> None:
    """Not by a part of a name, a role, a placeholder or as a fallback."""
    found = asked(spec)

    assert isinstance(found, Route)
    assert found.model == "qwen-7b"
    assert not any(name.startswith("anthropic") for name in found.alternatives)


@given(
    st.lists(
        st.sampled_from(["auto", "claude", "role:coder", "*", "qwen*", "son", "", "haiku-9"]),
        max_size=4,
    ).map(",".join)
)
def test_without_a_whole_name_nobody_is_better_than_the_cloud(spec: str) -> None:
    down = Candidate("qwen-7b", unavailable="quarantined")

    for candidates in ((down, SONNET, HAIKU), (SONNET, HAIKU)):
        assert isinstance(asked(spec, candidates), NoRoute)


@pytest.mark.parametrize("spec", ["anthropic", "claude-haiku-9", "anthropic-claude-sonnet-9"])
def test_local_only_excludes_it_by_any_name(spec: str) -> None:
    found = asked(spec, (SONNET, HAIKU), bound="local-only")

    assert isinstance(found, NoRoute)
    assert found.constraints == ("locality=local-only",)


def test_a_name_alone_has_no_stand_in_and_a_list_has() -> None:
    down = cloud("claude-sonnet-9", unavailable="has just failed this request")

    assert isinstance(asked("anthropic", (HERE, down)), NoRoute)
    assert asked("anthropic,qwen", (HERE, down)).model == "qwen-7b"


@pytest.mark.parametrize("spec", [None, "auto", "gpt-4o", "role:coder", "role:coder,auto"])
def test_a_task_is_escalated_where_no_model_was_named(spec: str | None) -> None:
    found = asked(spec, escalate="big task")

    assert found.model == "anthropic/claude-sonnet-9"
    assert found.resolution == "escalated (big task)"
    assert found.alternatives == ("qwen-7b",)


@pytest.mark.parametrize("spec", ["qwen-7b", "qwen*", "role:coder,qwen", "nonsense"])
def test_a_task_for_a_named_model_is_not(spec: str) -> None:
    assert asked(spec, escalate="big task").model == "qwen-7b"


@pytest.mark.parametrize("bound", ["local-only", "prefer-local"])
def test_nor_is_one_that_shall_stay(bound: Any) -> None:  # noqa: ANN401 - a literal
    assert asked(None, escalate="big task", bound=bound).model == "qwen-7b"


def test_an_escalation_that_fails_goes_where_it_would_have_gone() -> None:
    down = cloud("claude-sonnet-9", unavailable="has just failed this request")

    assert asked(None, (HERE, down), escalate="big task").model == "qwen-7b"
    assert asked(None, (HERE, HAIKU), Rules(), escalate="big task").model == "qwen-7b"


def test_too_long_for_all_here_is_said_so_and_may_be_escalated() -> None:
    hints = Hints(min_context_window=150_000)
    small = Candidate("small", Profile(context_window=8192))

    found = asked(None, (small, SONNET), hints=hints)

    assert isinstance(found, NoRoute)
    assert found.constraints == ("min_context_window>=150000",)
    found = asked(None, (small, SONNET), hints=hints, escalate="context")
    assert found.model == "anthropic/claude-sonnet-9"


def test_the_order_of_the_inventory_does_not_let_it_in() -> None:
    for order in itertools.permutations(ALL):
        assert asked("auto", order).model == "qwen-7b"
