"""What the names of models say of their roles."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_http.setup.role_names import ROLES, Candidate, propose, roles_of

NAMES = {
    "qwen2.5-coder-7b-instruct": {"coder", "fast"},
    "Qwen3-Coder-30B-A3B-Instruct-4bit": {"coder"},
    "starcoder2:15b": {"coder"},
    "claude-code-llama": {"coder"},
    "encodec-24khz": set(),
    "devstral-small-2507": {"coder", "fast"},
    "qwen2.5vl:7b": {"vision", "fast"},
    "Qwen3-VL-32B": {"vision"},
    "evlm-big": {"vision"},
    "devlin-13b": set(),
    "llama3.2-vision:11b": {"vision"},
    "revision-13b": set(),
    "google/gemma-4-26b": {"vision"},
    "gemma-40b": set(),
    "gemma3n:e4b": {"fast"},
    "llama-3.2-3b-instruct-4bit": {"fast"},
    "llama-13b-3bit": set(),
    "qwen3-1.7b": {"fast"},
    "model_8b": {"fast"},
    "mixtral-8x7b": set(),
    "SmolLM2-135M-Instruct": {"fast"},
    "smollm": {"fast"},
    "phi3:medium": {"fast"},
    "phi-4": {"fast"},
    "dolphin-mixtral": set(),
    "gemini-pro": set(),
    "gpt-4o-mini": {"fast"},
    "mistral-small-24b": set(),
    "deepseek-r1:8b": {"reasoner", "fast"},
    "deepseek-r12": set(),
    "llama-3.3-70b": {"reasoner"},
    "gpt-oss-120b": {"reasoner"},
    "gpt-oss-20b": set(),
    "Qwen3-4B-Thinking-2507": {"reasoner", "fast"},
    "rethinking-20b": set(),
    "minimax-m1-1m": set(),
    "qwen2.5-14b-instruct-1m": set(),
    "smallpublisher/tiny-vision/mistral-nemo": set(),  # only the last part is the model's name
}


@pytest.mark.parametrize(("name", "roles"), NAMES.items())
def test_a_name_says_its_roles(name: str, roles: set[str]) -> None:
    assert roles_of(name) == roles
    assert roles_of(name.upper()) == roles


candidates = st.builds(
    Candidate,
    st.sampled_from(sorted(NAMES)).map(lambda name: f"server/{name}"),
    loaded=st.booleans(),
)


@given(st.lists(candidates, unique_by=lambda one: one.id), st.randoms())
def test_every_model_has_a_role_whatever_the_order(found: list[Candidate], random: Random) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    roles = propose(found)

    assert propose(shuffled) == roles
    assert list(roles) == [role for role in ROLES if role in roles]
    assert ("default" in roles) == bool(found)
    for ids in roles.values():
        assert len(set(ids)) == len(ids)
        loaded = [one.id for one in found if one.loaded]
        assert [i in loaded for i in ids] == sorted((i in loaded for i in ids), reverse=True)


@given(st.lists(candidates, unique_by=lambda one: one.id, max_size=12))
def test_no_chat_model_is_left_out_where_there_is_room(found: list[Candidate]) -> None:
    named = {model for ids in propose(found).values() for model in ids}

    assert named == {one.id for one in found}


def test_without_a_general_model_the_first_three_are_the_default() -> None:
    names = ["a-7b", "b-7b", "c-7b", "d-coder"]
    found = [Candidate(name, loaded=name == "d-coder") for name in names]

    assert propose(found)["default"] == ("d-coder", "a-7b", "b-7b")


def test_what_cannot_chat_or_be_named_has_no_role() -> None:
    names = [
        "nomic-embed-text",
        "bge-m3",
        "whisper-large",
        "qwen3-reranker-8b",
        "a,b",
        "a*b",
        "a\n",
    ]

    assert propose(Candidate(name) for name in names) == {}


def test_of_a_great_many_models_a_role_has_the_first() -> None:
    found = [Candidate(f"m{number:03}-14b", loaded=number == 77) for number in range(100)]

    assert propose(found)["default"] == ("m077-14b", *(f"m{n:03}-14b" for n in range(11)))
