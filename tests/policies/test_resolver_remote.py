"""Models of other servers: names, replicas, and what is loaded there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.resolver import (
    Ask,
    Candidate,
    NoRoute,
    Route,
    Rules,
    resolve,
)
from lattice_actors.catalog.entry import Standing


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
