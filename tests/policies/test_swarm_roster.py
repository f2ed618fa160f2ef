"""What the entries of `models` stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.swarm.asks import Agent, Limits, Manner
from lattice_actors.swarm.failure import NoModels
from lattice_actors.swarm.roster import Member, expand, merged

LOADED = ("l1", "l2")
ALL = ("d1", "l1", "d2", "l2", "d3")


def members(
    *agents: Agent | str, limits: Limits | None = None, **more: object
) -> tuple[Member, ...]:
    given = [agent if isinstance(agent, Agent) else Agent(agent) for agent in agents]
    loaded = more.get("loaded", LOADED)
    manner = more.get("manner", Manner())
    assert isinstance(loaded, tuple)
    assert isinstance(manner, Manner)
    presets = {"Pair": ("role:x", "loaded")}
    return expand(given, manner, limits or Limits(), loaded=loaded, available=ALL, presets=presets)


def specs(*agents: Agent | str, limits: Limits | None = None, **more: object) -> list[str]:
    return [member.agent.spec for member in members(*agents, limits=limits, **more)]


@pytest.mark.parametrize("token", ["auto", "loaded", "*", "all", "all-loaded", " Auto "])
def test_a_token_stands_for_what_is_loaded(token: str) -> None:
    assert specs(token) == ["l1", "l2"]


def test_if_nothing_is_loaded_it_stands_for_what_is_on_disk_up_to_the_cap() -> None:
    assert specs("auto", loaded=()) == ["d1", "l1", "d2"]
    assert specs("auto", loaded=(), limits=Limits(auto_max=0)) == list(ALL)


@pytest.mark.parametrize("token", ["available", "configured", "all-available"])
def test_another_token_stands_for_all(token: str) -> None:
    assert specs(token, limits=Limits(auto_max=0)) == list(ALL)


def test_equal_texts_collapse_and_the_order_is_kept() -> None:
    assert specs("x", "l2", "auto", "x ", "y") == ["x", "l2", "l1", "y"]


def test_objects_do_not_collapse_and_do_not_expand() -> None:
    twice = Agent("auto", plain=False)

    assert specs(twice, twice, "auto") == ["auto", "auto", "l1", "l2"]


def test_a_preset_is_a_list_of_specs_and_tokens() -> None:
    assert specs("preset:pair") == ["role:x", "l1", "l2"]


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(BadRequest, match="no preset 'nope'; there are: Pair"):
        specs("preset:nope")


def test_nothing_to_ask_is_told_apart_from_a_wrong_request() -> None:
    with pytest.raises(NoModels):
        expand([Agent("auto")], Manner(), Limits(), loaded=(), available=(), presets={})


def test_seeds_count_up_over_all_samples_of_a_spec() -> None:
    asked = members(
        Agent("x", plain=False, samples=2), "y", Agent("x", plain=False), manner=Manner(seed=5)
    )

    assert [(m.agent.spec, m.manner.seed) for m in asked] == [
        ("x", 5),
        ("x", 6),
        ("y", 5),
        ("x", 7),
    ]


def test_a_seed_of_ones_own_counts_up_from_there() -> None:
    own = Agent("x", plain=False, samples=2, manner=Manner(seed=100))

    assert [m.manner.seed for m in members(own, own, manner=Manner(seed=5))] == [100, 101] * 2


def test_zero_is_said() -> None:
    general = Manner(temperature=0.9, top_p=0.5)

    assert merged(Manner(temperature=0.0), general) == Manner(temperature=0.0, top_p=0.5)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "auto", "available"]), st.booleans(), st.integers(1, 6)
        )
    ),
    st.integers(1, 12),
    st.integers(0, 4),
)
def test_the_limit_holds_or_is_named(
    asked: list[tuple[str, bool, int]], most: int, auto_max: int
) -> None:
    agents = [Agent(s, plain=plain, samples=1 if plain else n) for s, plain, n in asked]
    limits = Limits(most, auto_max)
    count = len(specs_of(agents, auto_max))
    if not 0 < count <= most:
        with pytest.raises(BadRequest if count else NoModels, match=f"at most {most}|there is no"):
            expand(agents, Manner(), limits, loaded=LOADED, available=ALL, presets={})
        return

    found = expand(agents, Manner(), limits, loaded=LOADED, available=ALL, presets={})

    assert len(found) == count
    plain = [member.agent.spec for member in found if member.agent.plain]
    assert len(set(plain)) == len(plain)


def specs_of(agents: list[Agent], auto_max: int) -> list[str]:
    """The simple way to say it: a set of texts, and all samples of objects."""
    tokens = {"auto": LOADED[: auto_max or None], "available": ALL[: auto_max or None]}
    texts = {spec for a in agents if a.plain for spec in tokens.get(a.spec, (a.spec,))}
    return [*texts, *(a.spec for a in agents if not a.plain for _ in range(a.samples))]
