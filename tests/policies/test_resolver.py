from __future__ import annotations

import time
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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
from lattice_actors.capability.roles import BUILT_IN
from lattice_actors.catalog.entry import Kind, Standing

WORDS = ["qwen", "coder", "smol", "3b", "13b", "vl", "phi"]
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("-".join)
SPECS = (
    st.none()
    | st.sampled_from(["auto", "role:fast", "role:coder", "role:none", "*", "qwen*3b", "nope"])
    | NAMES
    | st.lists(NAMES | st.sampled_from(["role:fast", "auto", "sm*"])).map(",".join)
)
PROFILES = st.builds(
    Profile,
    context_window=st.sampled_from([4096, 131_072]),
    supports_vision=st.booleans(),
    latency_tier=st.sampled_from(["fast", "slow"]),
    memory_gb_estimate=st.sampled_from([1.0, 40.0]),
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        id=NAMES,
        profile=PROFILES,
        backend=st.sampled_from(["mlx", "studio"]),
        kind=st.sampled_from([Kind.CHAT, Kind.CHAT, Kind.CHAT, Kind.EMBEDDING]),
        locality=st.sampled_from(["local", "remote", "cloud"]),
        resident=st.booleans(),
        idle=st.booleans(),
        predicted_wait_s=st.floats(0, 9),
        unavailable=st.sampled_from([None, None, None, "quarantined"]),
        builtin=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: (one.id, one.backend),
)
ROLES = st.dictionaries(st.sampled_from(["fast", "coder", "default"]), st.lists(NAMES, max_size=3))
RULES = st.builds(
    Rules,
    roles=ROLES,
    default_model=st.none() | NAMES,
    runtime_default=st.none() | NAMES,
    force_default=st.booleans(),
    on_miss=st.sampled_from(["fallback", "error"]),
)
HINTS = st.builds(
    Hints,
    needs_vision=st.booleans(),
    min_context_window=st.none() | st.just(20_000),
    prefers_fast=st.booleans(),
)
ASKS = st.builds(
    Ask,
    spec=SPECS,
    hints=HINTS,
    bound=st.sampled_from(["any", "any", "local-only", "prefer-local"]),
    sticky=st.none() | NAMES,
    allow_fallback=st.booleans(),
)

ABLE = Candidate("able", Profile(supports_vision=True))  # within every limit there is


def allowed(ask: Ask, one: Candidate) -> bool:
    """The hard limits, written a second time."""
    if one.kind is not Kind.CHAT or (ask.bound == "local-only" and one.locality != "local"):
        return False
    if ask.hints.needs_vision and not one.profile.supports_vision:
        return False
    return one.profile.context_window >= (ask.hints.min_context_window or 0)


def models(*ids: str, **same: Any) -> list[Candidate]:  # noqa: ANN401 - fields of Candidate
    return [Candidate(name, **same) for name in ids]


def route(
    spec: str | None, candidates: list[Candidate], rules: Rules | None = None, **ask: object
) -> Route:
    found = resolve(Ask(spec, **ask), candidates, rules or Rules(BUILT_IN))  # type: ignore[arg-type]
    assert isinstance(found, Route), found
    return found


# --- laws -------------------------------------------------------------------------------------


@given(ASKS, CANDIDATES, RULES)
def test_only_a_model_within_the_hard_limits_answers(
    ask: Ask, candidates: list[Candidate], rules: Rules
) -> None:
    found = resolve(ask, candidates, rules)

    pool = [one for one in candidates if allowed(ask, one) and one.unavailable is None]
    if isinstance(found, Route):
        assert (found.model, found.backend) in {(one.id, one.backend) for one in pool}
        assert set(found.alternatives) <= {one.id for one in pool} - {found.model}
    elif ask.spec in (None, "auto"):
        # A placeholder is answered whenever anybody can who need not be named.
        assert all(one.locality == "cloud" for one in pool)


@given(ASKS, CANDIDATES, RULES)
def test_each_candidate_is_considered_exactly_once(
    ask: Ask, candidates: list[Candidate], rules: Rules
) -> None:
    found = resolve(ask, candidates, rules)

    fates = [(one.id, one.backend) for one in found.considered]
    assert fates == [(one.id, one.backend) for one in candidates]
    chosen = [one for one in found.considered if one.reason == "chosen"]
    assert len(chosen) == isinstance(found, Route)
    if isinstance(found, Route):
        assert (chosen[0].id, chosen[0].backend) == (found.model, found.backend)


@given(ASKS, CANDIDATES, RULES)
def test_resolving_the_answer_gives_the_answer(
    ask: Ask, candidates: list[Candidate], rules: Rules
) -> None:
    found = resolve(ask, [*candidates, ABLE], rules)
    if isinstance(found, NoRoute):
        return  # the miss policy is "error", or what was named is unavailable

    again = resolve(Ask(found.model, ask.hints, ask.bound, ask.sticky), [*candidates, ABLE], rules)

    assert isinstance(again, Route)
    assert again.model == found.model


@given(ASKS, CANDIDATES, RULES, st.data())
def test_an_exact_id_beats_everything(
    ask: Ask, candidates: list[Candidate], rules: Rules, data: st.DataObject
) -> None:
    rules = attrs.evolve(rules, force_default=False)
    everyone = [*candidates, ABLE]
    able = [one for one in everyone if allowed(ask, one) and one.unavailable is None]
    wanted = data.draw(st.sampled_from(able)).id

    found = resolve(Ask(wanted.upper(), ask.hints, ask.bound, ask.sticky), everyone, rules)

    assert isinstance(found, Route)
    assert (found.model, found.resolution) == (wanted, None)


@given(ASKS, CANDIDATES, RULES)
def test_the_order_of_the_role_map_decides_nothing(
    ask: Ask, candidates: list[Candidate], rules: Rules
) -> None:
    turned = Rules(
        {name: rules.roles[name] for name in reversed(list(rules.roles))},
        rules.default_model,
        rules.runtime_default,
        rules.force_default,
        rules.on_miss,
    )

    assert resolve(ask, candidates, rules) == resolve(ask, candidates, turned)


@given(NAMES, CANDIDATES, RULES)
def test_what_answers_is_what_was_asked_for_or_announced(
    spec: str, candidates: list[Candidate], rules: Rules
) -> None:
    found = resolve(Ask(spec), candidates, rules)

    if isinstance(found, Route) and found.resolution is None:
        assert spec in found.model
    elif isinstance(found, Route):
        kind = found.resolution.partition(" ")[0] if found.resolution else ""
        assert kind == ("forced_default" if "forced" in kind else "fallback")
        assert f"requested '{spec}'" in (found.resolution or "")


@given(st.lists(NAMES, min_size=2, max_size=4), CANDIDATES, ROLES)
def test_the_first_entry_that_matches_wins(
    entries: list[str], candidates: list[Candidate], roles: dict[str, list[str]]
) -> None:
    rules = Rules(roles, on_miss="error")

    found = resolve(Ask(",".join(entries)), candidates, rules)

    alone = [resolve(Ask(entry), candidates, rules) for entry in entries]
    first = next((one for one in alone if isinstance(one, Route)), None)
    if first is None:
        assert isinstance(found, NoRoute)
    else:
        assert isinstance(found, Route)
        assert found.model == first.model


@given(ASKS, CANDIDATES, RULES)
def test_nothing_falls_back_where_that_is_not_allowed(
    ask: Ask, candidates: list[Candidate], rules: Rules
) -> None:
    in_a_swarm = resolve(attrs.evolve(ask, allow_fallback=False), candidates, rules)
    strict = resolve(ask, candidates, attrs.evolve(rules, on_miss="error"))

    for found in (in_a_swarm, strict):
        if isinstance(found, Route) and found.resolution is not None:
            assert "not present" not in found.resolution
            assert "excluded" not in found.resolution


@given(st.text())
@example("\0")
@example("a\r\nX-Evil: 1")
@example("*" * 10_000)
@example("é" * 10_000)
@example("模型," * 3000)
@example("role:" * 2000)
@example("a+" * 5000)
def test_no_text_is_too_much(text: str) -> None:
    candidates = [*models("pub/qwen-3b", "ß", "İstanbul-7b"), Candidate("z", builtin=True)]

    for rules in (Rules(BUILT_IN), Rules(BUILT_IN, on_miss="error")):
        found = resolve(Ask(text), candidates, rules)
        assert len(found.resolution or "" if isinstance(found, Route) else found.message) < 1000


def test_a_large_inventory_and_a_long_spec_take_milliseconds() -> None:
    candidates = models(*(f"publisher/model-{n}-instruct-4bit" for n in range(500)))
    spec = ",".join(f"role:fast,x{n}*y" for n in range(2000))
    start = time.perf_counter()

    resolve(Ask(spec), candidates, Rules(BUILT_IN, on_miss="error"))

    assert time.perf_counter() - start < 1.0  # 30 to 80 ms, with room for a busy machine


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


# --- other servers --------------------------------------------------------------------------------


def remote(server: str, name: str, **more: Any) -> Candidate:  # noqa: ANN401 - of Candidate
    fields = {"backend": server, "locality": "remote", "resident": True, **more}
    return Candidate(f"{server}/{name}", name=name, **fields)


def chosen(spec: str | None, candidates: list[Candidate], **ask: Any) -> str:  # noqa: ANN401 - of Ask
    route = resolve(Ask(spec, **ask), candidates, Rules())
    assert isinstance(route, Route), route
    return route.model


def test_a_model_elsewhere_answers_to_its_id_and_to_its_own_name() -> None:
    candidates = [remote("gpu", "qwen3-8b-long"), remote("gpu", "qwen3-8b")]

    assert chosen("gpu/qwen3-8b", candidates) == "gpu/qwen3-8b"
    assert chosen("Qwen3-8B", candidates) == "gpu/qwen3-8b"
    assert chosen("8b-long", candidates) == "gpu/qwen3-8b-long"
    assert chosen("gpu/*long", candidates) == "gpu/qwen3-8b-long"


def test_the_name_of_a_server_is_no_part_of_its_models_names() -> None:
    candidates = [remote("llamacpp", "qwen"), Candidate("llama-3b")]

    assert chosen("llama", candidates) == "llama-3b"
    assert chosen("llamacpp/", candidates) == "llamacpp/qwen"


def test_a_local_model_goes_before_one_of_the_same_name_elsewhere_however_busy() -> None:
    candidates = [Candidate("m", idle=False, predicted_wait_s=9.0), remote("gpu", "m")]

    assert chosen("m", candidates) == "m"
    assert chosen("gpu/m", candidates) == "gpu/m"


def test_a_placeholder_that_a_server_really_has_is_that_model() -> None:
    assert chosen("gpt-4o", [Candidate("a"), remote("open", "gpt-4o")]) == "open/gpt-4o"
    assert chosen("gpt-4o", [Candidate("a"), remote("open", "gpt-4o-mini")]) == "a"


@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.integers(0, 20))
def test_among_replicas_the_one_with_least_to_do_answers(loads: list[int], turn: int) -> None:
    candidates = [
        remote(f"s{number}", "m", load=float(load), idle=load == 0)
        for number, load in enumerate(loads)
    ]
    for spec in ("m", "*m*", "auto"):
        place = int(chosen(spec, candidates, turn=turn)[1])
        assert loads[place] == min(loads)


def test_equal_replicas_take_turns() -> None:
    candidates = [remote(f"s{number}", "m") for number in range(3)]

    assert [chosen("m", candidates, turn=turn) for turn in range(4)] == [
        "s0/m",
        "s1/m",
        "s2/m",
        "s0/m",
    ]


def test_a_model_that_is_not_loaded_is_closed_to_every_kind_of_spec() -> None:
    candidates = [
        remote("lmstudio", "cold", standing=Standing.CLOSED),
        remote("lmstudio", "warm"),
    ]
    for spec in ("lmstudio/cold", "cold", "col*"):
        missed = resolve(Ask(spec), candidates, Rules(on_miss="error"))
        assert isinstance(missed, NoRoute)
        assert "available: lmstudio/warm" in missed.message
    missed = resolve(Ask("cold"), candidates, Rules(on_miss="error"))
    assert isinstance(missed, NoRoute)
    assert "STRICT_LOADED_MODELS" in missed.message

    fallen = resolve(Ask("cold"), candidates, Rules())
    assert isinstance(fallen, Route)
    assert fallen.model == "lmstudio/warm"
    assert "not loaded" in (fallen.resolution or "")


def test_loaded_models_are_tried_over_the_whole_list_first() -> None:
    """Contract 8: a later loaded entry beats an earlier one that is not loaded, roles too."""
    cold = remote("lmstudio", "cold-coder", standing=Standing.ASLEEP)
    warm = remote("lmstudio", "warm")
    rules = Rules(roles={"coder": ["coder"]})

    for spec in ("cold-coder,warm", "role:coder,warm", "auto", "nothing"):
        route = resolve(Ask(spec), [cold, warm], rules)
        assert isinstance(route, Route)
        assert route.model == "lmstudio/warm", spec
    for spec in ("cold-coder", "role:coder"):
        route = resolve(Ask(spec), [cold, warm], rules)
        assert isinstance(route, Route)
        assert route.model == "lmstudio/cold-coder"
