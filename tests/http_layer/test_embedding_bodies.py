"""What ``POST /v1/embeddings`` takes, and what it refuses by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lattice_actors.catalog.entry import Kind
from lattice_actors.errors import BadRequest
from lattice_actors.generation import Text, Tokens
from lattice_http.openai.embeddings import EmbeddingRequest, of_embedding, parse_embedding


def parsed(**fields: object) -> EmbeddingRequest:
    return parse_embedding(json.dumps({"input": "hi", **fields}).encode(), {}, 0.0)


@pytest.mark.parametrize(
    ("sent", "inputs", "listed", "size"),
    [
        ("Größe", (Text("Größe"),), False, 7),
        (["a", "bc"], (Text("a"), Text("bc")), True, 3),
        ([5, 6], (Tokens((5, 6)),), False, 8),
        ([[5], [6, 7]], (Tokens((5,)), Tokens((6, 7))), True, 12),
        (["a"] * 2048, (Text("a"),) * 2048, True, 2048),
    ],
)
def test_the_four_forms_of_the_input(
    sent: object, inputs: tuple[Text | Tokens, ...], listed: bool, size: int
) -> None:
    request = parsed(input=sent)
    prompted = of_embedding(request)

    assert (request.embed.inputs, request.embed.listed) == (inputs, listed)
    assert (prompted.prompts, prompted.prompt_bytes) == ((request.embed,), (size,))
    assert (prompted.kind, prompted.choices) == (Kind.EMBEDDING, 1)


def test_options_are_taken_and_what_has_no_effect_is_listed() -> None:
    request = parsed(
        model="m",
        dimensions=64,
        encoding_format="base64",
        truncate=True,
        user="me",
        queue={"priority": 3, "color": 1},
    )

    assert request.spec == "m"
    assert (request.embed.dimensions, request.embed.truncate, request.base64) == (64, True, True)
    assert request.wishes.priority == 3
    assert request.ignored == ("user", "queue.color")
    plain = parsed()
    assert (plain.embed.dimensions, plain.embed.truncate, plain.base64) == (None, False, False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": 5}, "input"),
        ({"input": {"text": "hi"}}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": [[5], []]}, "input[1]"),
        ({"input": [[5], [-1]]}, "input[1][0]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [[1]] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 2**20}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"truncate": "yes"}, "truncate"),
        ({"stream": True}, "stream"),
        ({"model": 3}, "model"),
        ({"queue": {"priority": "soon"}}, "queue.priority"),
    ],
)
def test_nonsense_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parsed(**fields)

    assert refused.value.param == param


def test_a_large_input_is_no_rest_of_a_body() -> None:
    assert len(parsed(input=["x" * 1000] * 2000).embed.inputs) == 2000
