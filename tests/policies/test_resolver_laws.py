"""What holds of every resolution."""

from __future__ import annotations

import time

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from lattice_actors.capability.resolver import (
    Ask,
    Candidate,
    NoRoute,
    Route,
    Rules,
    resolve,
)
from lattice_actors.capability.roles import BUILT_IN
from tests.policies.resolving import (
    ABLE,
    ASKS,
    CANDIDATES,
    NAMES,
    ROLES,
    RULES,
    allowed,
    models,
)


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
