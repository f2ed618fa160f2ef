"""Embeddings of other servers: what asks for them, and what is taken for an answer."""

from __future__ import annotations

import array
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Embed, Finish, Text, Tokens, Usage, Vectors
from lattice_actors.remote.embedding_wire import EmbeddingReader, body_of
from lattice_actors.remote.faults import Blame, WireFault


def embed(count: int, **fields: Any) -> Embed:  # noqa: ANN401 - of Embed
    return Embed(tuple(Text(f"text {number}") for number in range(count)), **fields)


def coded(numbers: list[float]) -> str:
    return base64.b64encode(array.array("f", numbers).tobytes()).decode()


def read(asked: Embed, body: object) -> tuple[list[list[float]], Usage]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader = EmbeddingReader("gpu", asked, prompt_tokens=9)
    for at in range(0, len(content), 1000):
        assert reader.feed(content[at : at + 1000]) == []
    *vectors, finish = reader.end()
    assert reader.done
    assert isinstance(finish, Finish)
    numbers = [memoryview(one.content).cast("f") for one in vectors if isinstance(one, Vectors)]
    return [list(row) for row in numbers], finish.usage


def test_what_is_asked_for_is_what_the_caller_said() -> None:
    one = json.loads(body_of(embed(1, listed=False), "m", "openai"))
    many = Embed((Tokens((1, 2)), Text("b")), dimensions=64)

    assert one == {"model": "m", "input": "text 0", "encoding_format": "base64"}
    assert json.loads(body_of(many, "m", "openai")) == {
        "model": "m",
        "input": [[1, 2], "b"],
        "encoding_format": "base64",
        "dimensions": 64,
    }


def test_cutting_is_asked_for_where_the_server_can_do_that() -> None:
    cut = embed(1, truncate=True)

    assert json.loads(body_of(cut, "m", "lattice"))["truncate"] is True
    assert json.loads(body_of(cut, "m", "vllm"))["truncate_prompt_tokens"] == -1
    with pytest.raises(BadRequest) as refused:
        body_of(cut, "m", "openai")
    assert refused.value.param == "truncate"


FLOATS = st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3)


@given(st.lists(FLOATS, min_size=1, max_size=5), st.data())
def test_both_forms_hold_the_same_numbers_in_whatever_order(
    vectors: list[list[float]], data: st.DataObject
) -> None:
    forms: list[Any] = [data.draw(st.sampled_from([coded, list])) for _ in vectors]
    items: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": form(vector)}
        for index, (form, vector) in enumerate(zip(forms, vectors, strict=True))
    ]
    body = {"object": "list", "data": data.draw(st.permutations(items)), "model": "m"}

    told, usage = read(embed(len(vectors)), body | {"usage": {"prompt_tokens": 5}})

    assert told == vectors
    assert usage == Usage(5, 0)
    assert read(embed(len(vectors)), body)[1] == Usage(9, 0)  # it does not say: an estimate


@pytest.mark.parametrize(
    "data",
    [
        {"error": "no"},
        b"[1",
        {"data": []},
        {"data": [{"embedding": [1.0]}] * 3},
        {"data": [{"embedding": [1.0], "index": 0}] * 2},
        {"data": [{"embedding": [1.0], "index": 0}, {"embedding": [1.0], "index": 7}]},
        {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]},
        {"data": [{"embedding": []}, {"embedding": []}]},
        {"data": [{"embedding": [1.0]}, {"embedding": ["a"]}]},
        {"data": [{"embedding": [1.0]}, {"embedding": {"a": 1}}]},
        {"data": [{"embedding": [1.0]}, {"embedding": "?"}]},
        {"data": [{"embedding": [1.0]}, {"embedding": "AAA="}]},
        {"data": [{"embedding": coded([float("nan")])}, {"embedding": [1.0]}]},
        {"data": [{"embedding": [1e300]}, {"embedding": [1.0]}]},
    ],
    ids=str,
)
def test_what_is_no_answer_is_a_typed_failure(data: object) -> None:
    with pytest.raises(WireFault) as failed:
        read(embed(2), data)

    assert (failed.value.fault.blame, failed.value.fault.code) == (
        Blame.SERVER,
        "upstream_bad_answer",
    )


def test_a_server_that_does_not_shorten_is_said_to_the_caller() -> None:
    with pytest.raises(WireFault) as failed:
        read(embed(1, dimensions=2), {"data": [{"embedding": [1.0, 2.0, 3.0]}]})

    assert (failed.value.fault.blame, failed.value.fault.param) == (Blame.CALLER, "dimensions")


def test_a_flood_is_stopped_and_a_drip_is_no_sign_of_life() -> None:
    reader = EmbeddingReader("gpu", embed(1))

    for _ in range(100):
        reader.feed(b"x")
    assert reader.signs_of_life == 1
    with pytest.raises(WireFault):
        reader.feed(b"x" * 2_000_000)
