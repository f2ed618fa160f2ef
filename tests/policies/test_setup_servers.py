"""Telling servers apart by what they answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.remote.listing import MODELS_PATH
from lattice_http.setup.servers import (
    ONLY_MODEL,
    TELLING,
    Address,
    Answer,
    Family,
    Nothing,
    Server,
    place_of,
    recognise,
)
from tests.cli import stand_ins

HERE = Address("http://127.0.0.1:9")
PYTHON = "BaseHTTP/0.6 Python/3.11.8"


def answers(said: stand_ins.Answers, server: str = "") -> dict[str, Answer]:
    found = {}
    for path in (MODELS_PATH, *TELLING):
        known = said.get(path, said.get(""))
        body = known if isinstance(known, str) else json.dumps(known)
        found[path] = Answer(404 if known is None else 200, body.encode(), server)
    return found


OURS = stand_ins.listed("SmolLM2", owned_by="mlx", kind="chat")
PY = stand_ins.listed("gemma.gguf", owned_by="me")
OTHER = stand_ins.listed("some-model")


@pytest.mark.parametrize(
    ("said", "header", "family"),
    [
        (stand_ins.LM_STUDIO, "", Family.LM_STUDIO),
        ({"/v1/models": {"data": []}, "/api/v0/models": {"data": []}}, "", Family.LM_STUDIO),
        (stand_ins.OLLAMA, "", Family.OLLAMA),
        (stand_ins.LLAMA_CPP, "llama.cpp", Family.LLAMA_CPP),
        (stand_ins.MLX_LM, PYTHON, Family.MLX_LM),
        (stand_ins.MLX_LM_WITHOUT_CACHE, PYTHON, Family.MLX_LM),
        (stand_ins.VLLM, "uvicorn", Family.VLLM),
        ({"/v1/models": OURS}, "", Family.LATTICE),
        ({"/v1/models": PY}, "uvicorn", Family.LLAMA_CPP_PYTHON),
        ({"/v1/models": OTHER}, "nginx", Family.OTHER),
        ({"": OTHER}, "nginx", Family.OTHER),  # whatever it is asked
    ],
)
def test_each_is_known_by_its_answers(said: stand_ins.Answers, header: str, family: Family) -> None:
    server = recognise(HERE, answers(said, header))

    assert isinstance(server, Server)
    assert server.family is family


def test_what_is_loaded_goes_by_each_servers_own_word() -> None:
    studio = recognise(HERE, answers(stand_ins.LM_STUDIO))
    ollama = recognise(HERE, answers(stand_ins.OLLAMA))
    mlx_lm = recognise(HERE, answers(stand_ins.MLX_LM, PYTHON))

    assert isinstance(studio, Server)
    assert [model.name for model in studio.models if model.loaded] == ["mistral-nemo"]
    assert [model.chats for model in studio.models] == [True, True, False]
    assert isinstance(ollama, Server)
    assert [model.name for model in ollama.models if model.loaded] == ["deepseek-r1:70b"]
    assert [model.name for model in ollama.models if not model.chats] == ["all-minilm:22m"]
    assert isinstance(mlx_lm, Server)
    assert [model.name for model in mlx_lm.models if model.loaded] == ["/models/big"]


def test_slots_are_told_and_a_list_that_is_missing_is_known() -> None:
    llama_cpp = recognise(HERE, answers(stand_ins.LLAMA_CPP))
    mlx_lm = recognise(HERE, answers(stand_ins.MLX_LM_WITHOUT_CACHE, PYTHON))

    assert isinstance(llama_cpp, Server)
    assert llama_cpp.slots == 4
    assert isinstance(mlx_lm, Server)
    assert not mlx_lm.listed
    assert [model.name for model in mlx_lm.models] == [ONLY_MODEL]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, "{}", "wants a key"),
        (503, '{"error": {"message": "Loading model"}}', "not ready yet"),
        (404, "<html>", "HTTP 404"),
        (200, "<html>", "not with a list of models"),
        (200, '{"data": 5}', "not with a list of models"),
        (200, "[" * 100_000, "not with a list of models"),
    ],
)
def test_what_is_none_says_why(status: int, body: str, reason: str) -> None:
    found = recognise(HERE, {MODELS_PATH: Answer(status, body.encode())})

    assert isinstance(found, Nothing)
    assert reason in found.reason


VALUES = st.recursive(
    st.none() | st.integers() | st.text("a/\n", max_size=3) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "models", "id", "name", "state", "status", "details", "family"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=30) | VALUES.map(lambda value: json.dumps(value).encode())


@given(
    st.dictionaries(
        st.sampled_from((MODELS_PATH, *TELLING)),
        st.builds(
            Answer, st.sampled_from([0, 200, 404, 500]), BODIES, st.sampled_from(["", PYTHON])
        ),
    )
)
def test_whatever_comes_is_a_server_or_a_reason(said: dict[str, Answer]) -> None:
    found = recognise(HERE, said)

    assert isinstance(found, Server) or found.reason


def test_one_machine_has_several_names_for_itself() -> None:
    assert place_of("http://LocalHost:1234") == place_of("http://127.0.0.1:1234")
    assert place_of("http://[::1]:1234") == place_of("http://127.0.0.1:1234")
    assert place_of("http://localhost.example:1") != place_of("http://127.0.0.1.example:1")
