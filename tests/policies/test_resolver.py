"""Which model answers: matching, defaults, limits and misses, case by case."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from lattice_actors.capability.hints import Hints
from lattice_actors.capability.profiles import Profile
from lattice_actors.capability.resolver import (
    Ask,
    Candidate,
    NoRoute,
    Route,
    Rules,
    resolve,
)
from lattice_actors.catalog.entry import Kind
from tests.policies.resolving import (
    models,
    route,
)

# --- matching ---------------------------------------------------------------------------------


def test_plain_text_is_the_first_id_that_contains_it() -> None:
    assert route("qwen", models("a/myqwen", "b/qwen")).model == "a/myqwen"
    assert route("*QWEN*", models("a", "b/myqwen2")).model == "b/myqwen2"
    assert route("qwen*3b", models("3b-qwen", "qwen-x-3b")).model == "qwen-x-3b"


def test_a_pattern_prefers_the_id_without_its_stars() -> None:
    assert route("qwen*", models("a-qwen", "qwen")).model == "qwen"


def test_a_size_is_a_whole_word() -> None:
    candidates = models("a-13b", "b-3bit", "c-3b")

    assert route("role:fast", candidates).model == "c-3b"
    assert route("3b", candidates).model == "c-3b"


def test_ids_equal_but_case_are_told_apart() -> None:
    assert route("Qwen", models("qwen", "Qwen")).model == "Qwen"
    assert route("QWEN", models("qwen", "Qwen")).model == "qwen"


def test_a_role_takes_its_first_preference_that_is_there() -> None:
    rules = Rules({"mine": ["absent", "b*", "role:mine", "a"]})

    assert route("role:MINE", models("a", "b1"), rules).model == "b1"
    assert route("role:other,role:mine", models("a"), rules).model == "a"


@pytest.mark.parametrize(
    ("better", "why"),
    [
        ({"resident": True}, "is resident"),
        ({"idle": True}, "is idle"),
        ({"predicted_wait_s": 0.5}, "has the shorter predicted wait"),
        ({}, "comes first in the inventory"),
    ],
)
def test_equals_are_decided_in_a_fixed_order(better: dict[str, Any], why: str) -> None:
    worse: dict[str, Any] = {"resident": False, "idle": False, "predicted_wait_s": 1.0}
    good = Candidate("good-3b", **worse | better)
    bad = Candidate("also-3b", **worse)
    candidates = [good, bad] if not better else [bad, good]

    found = route("role:fast", candidates)

    assert found.model == "good-3b"
    assert found.alternatives == ("also-3b",)
    reasons = {one.id: one.reason for one in found.considered}
    assert reasons["also-3b"] == f"equal for the caller, but good-3b {why}"


def test_a_conversation_stays_with_its_model_among_equals_only() -> None:
    candidates = [Candidate("a-3b", resident=True), Candidate("b-3b"), Candidate("c-7b")]

    assert route("role:fast", candidates, sticky="b-3b").model == "b-3b"
    assert route("role:fast", candidates, sticky="c-7b").model == "a-3b"


def test_of_two_replicas_the_resident_one_answers() -> None:
    candidates = [Candidate("m"), Candidate("m", backend="studio", resident=True)]

    assert route("m", candidates).backend == "studio"


def test_the_built_in_model_is_never_preferred_to_an_own_one() -> None:
    builtin = Candidate("smol-3b", builtin=True, resident=True)
    own = models("my-mini", "x")

    assert route("role:fast", [builtin, *own], sticky="smol-3b").model == "my-mini"
    assert route(None, [builtin, *own]).model == "my-mini"
    assert route("nope", [builtin, *own]).model == "my-mini"
    assert route("*smol*", [builtin, *own]).model == "smol-3b"
    assert route("role:fast", [builtin, *models("x")]).model == "smol-3b"


# --- defaults ---------------------------------------------------------------------------------


def test_a_placeholder_takes_the_defaults_in_their_order() -> None:
    candidates = models("a", "b", "c", "d")
    role = {"default": ["b"]}

    assert route("auto", candidates, Rules(role, "c", "d")).model == "d"
    assert route("auto", candidates, Rules(role, "c", "absent")).model == "c"
    assert route(None, candidates, Rules(role, "auto")).model == "b"
    assert route("gpt-4", candidates, Rules()).model == "a"
    assert route("nope,auto", candidates, Rules(role, "c")).model == "c"
    assert route("nope,auto", candidates, Rules(role, "c")).resolution is None


def test_a_forced_default_replaces_every_explicit_spec() -> None:
    candidates = models("a", "b")

    found = route("a", candidates, Rules(default_model="b", force_default=True))

    assert found.model == "b"
    assert found.resolution == "forced_default (requested 'a', using 'b')"
    asked_for_nothing = route("auto", candidates, Rules(default_model="b", force_default=True))
    assert (asked_for_nothing.model, asked_for_nothing.resolution) == ("b", None)

    slow = Candidate("slow", Profile(latency_tier="slow", memory_gb_estimate=40))
    wish = Hints(prefers_fast=True)
    rules = Rules(default_model="slow", force_default=True)
    assert route(None, [*candidates, slow], rules, hints=wish).model == "slow"
    assert route("a", candidates, Rules(force_default=True)).model == "a"


# --- limits and wishes ------------------------------------------------------------------------


def sees(name: str, **more: Any) -> Candidate:  # noqa: ANN401 - fields of Candidate
    return Candidate(name, Profile(supports_vision=True, latency_tier="slow"), **more)


def test_an_image_never_goes_to_a_model_that_takes_none() -> None:
    hints = Hints(needs_vision=True, vision_part="messages[0].content[1]")

    found = route("blind", [*models("blind"), sees("eyes")], hints=hints)
    refused = resolve(Ask("blind", hints), models("blind"), Rules())

    assert found.model == "eyes"
    assert found.resolution == "fallback (requested 'blind', excluded by needs_vision)"
    assert isinstance(refused, NoRoute)
    assert refused.code == "no_model_for_constraints"
    assert refused.constraints == ("needs_vision",)
    assert refused.param == "messages[0].content[1]"


def test_a_long_prompt_names_the_window_it_needs() -> None:
    refused = resolve(Ask(None, Hints(min_context_window=200_000)), models("a"), Rules())

    assert isinstance(refused, NoRoute)
    assert "min_context_window>=200000" in refused.message
    assert "131072" in refused.considered[0].reason


def test_a_wish_narrows_after_the_limits_and_only_if_something_is_left() -> None:
    slow = Candidate("a-slow", Profile(latency_tier="slow", memory_gb_estimate=40))
    fast = Candidate("b-fast", Profile(latency_tier="fast", memory_gb_estimate=40))
    wish = Hints(prefers_fast=True)

    assert route(None, [slow, fast], hints=wish).model == "b-fast"
    assert route(None, [slow], hints=wish).model == "a-slow"
    assert route("a-slow", [slow, fast], hints=wish).model == "a-slow"
    assert route("*slow", [slow, fast], hints=wish).model == "a-slow"
    assert route("nope", [slow, fast], hints=wish).model == "b-fast"
    assert route(None, [fast, sees("z")], hints=Hints(True, None, True)).model == "z"


def test_the_bound_of_locality_is_hard_and_the_preference_is_not() -> None:
    away, local = Candidate("a", locality="remote"), Candidate("b")

    refused = resolve(Ask("a", bound="local-only"), [away], Rules())

    assert isinstance(refused, NoRoute)
    assert refused.constraints == ("locality=local-only",)
    assert route(None, [away, local], bound="prefer-local").model == "b"
    assert route("a", [away, local], bound="prefer-local").model == "a"
    assert route(None, [away], bound="prefer-local").model == "a"


def test_an_embedding_model_never_answers_a_chat() -> None:
    candidates = models("embed", kind=Kind.EMBEDDING)

    refused = resolve(Ask("embed"), candidates, Rules())

    assert isinstance(refused, NoRoute)
    assert (refused.code, refused.message) == ("model_not_found", "there is no chat model here")
    assert route("embed", candidates, kind=Kind.EMBEDDING).model == "embed"


@pytest.mark.parametrize("spec", [None, "auto", "text-embedding-3-small"])
def test_whoever_names_no_embedding_model_always_gets_the_same(spec: str | None) -> None:
    chat, *_ = models("chat")
    first, second = models("e1", "e2", kind=Kind.EMBEDDING)
    busy = attrs.evolve(first, idle=False, predicted_wait_s=9.0)
    resident = attrs.evolve(second, resident=True)
    rules = Rules(default_model="chat", force_default=True)

    found = resolve(Ask(spec, kind=Kind.EMBEDDING), [chat, busy, resident], rules)
    assert isinstance(found, Route)
    assert (found.model, found.resolution) == ("e1", None)
    broken = attrs.evolve(first, unavailable="broken")
    refused = resolve(Ask(spec, kind=Kind.EMBEDDING), [chat, broken, resident], rules)
    assert isinstance(refused, NoRoute)
    assert refused.code == "model_unavailable"


@pytest.mark.parametrize("spec", ["chat", "e9", "role:fast"])
def test_no_other_model_embeds_for_the_one_that_was_named(spec: str) -> None:
    candidates = [*models("chat"), *models("e1", kind=Kind.EMBEDDING)]

    refused = resolve(Ask(spec, kind=Kind.EMBEDDING), candidates, Rules())

    assert isinstance(refused, NoRoute)
    assert refused.code == "model_not_found"
    assert "available: e1" in refused.message


# --- misses -----------------------------------------------------------------------------------


def test_a_miss_is_announced_in_the_words_clients_know() -> None:
    found = route(" nope\r\n", models("a", "b"))

    assert found.model == "a"
    assert found.resolution == "fallback (requested 'nope', not present)"
    assert found.alternatives == ()


def test_an_error_lists_the_ids_and_the_three_nearest() -> None:
    candidates = models("pub/qwen2.5-7b", "zeta", "alpha", "pub/llama", "qwen3-4b")

    refused = resolve(Ask("qwen2.5-7c"), candidates, Rules(on_miss="error"))

    assert isinstance(refused, NoRoute)
    assert (refused.code, refused.param) == ("model_not_found", "model")
    assert "nearest: pub/qwen2.5-7b, qwen3-4b, " in refused.message
    assert refused.message.endswith("available: pub/qwen2.5-7b, zeta, alpha, pub/llama, qwen3-4b")


def test_an_unknown_role_lists_the_roles() -> None:
    refused = resolve(Ask("role:x"), models("a"), Rules({"b": [], "a": []}, on_miss="error"))

    assert isinstance(refused, NoRoute)
    assert "roles: a, b" in refused.message


def test_an_empty_house_says_so() -> None:
    refused = resolve(Ask(), [], Rules())

    assert isinstance(refused, NoRoute)
    assert refused.code == "model_not_found"


def test_the_fallback_of_a_quarantined_model_stays_in_the_callers_list() -> None:
    down = Candidate("a", unavailable="quarantined", retry_after_s=30)
    candidates = [down, *models("b", "c")]

    in_list = route("a,c", candidates)
    alone = resolve(Ask("a"), candidates, Rules())

    assert in_list.model == "c"
    assert in_list.resolution == "fallback (requested 'a,c', 'a' unavailable)"
    assert isinstance(alone, NoRoute)
    assert (alone.code, alone.retry_after_s) == ("model_unavailable", 30)
    assert "a: quarantined" in alone.message
    assert route(None, candidates).model == "b"


def test_the_alternatives_are_what_else_the_caller_named() -> None:
    candidates = models("a-3b", "b", "c", "d-3b")

    assert route("b,role:fast", candidates).alternatives == ("a-3b", "d-3b")
    assert route("b", candidates).alternatives == ()
