"""The body of a completion: each form of prompt, and log-probabilities."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lattice_actors.generation import Text, Tokens
from lattice_http.openai.chat import parse_chat
from lattice_http.openai.completions import parse_completion
from tests.http_layer.openai_bodies import HELLO, chat, completion, refused

# --- completions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("Hello", (Text("Hello"),)),
        (["a", "b"], (Text("a"), Text("b"))),
        ([1, 2, 0], (Tokens((1, 2, 0)),)),
        ([[1], [2, 3]], (Tokens((1,)), Tokens((2, 3)))),
    ],
)
def test_each_form_of_prompt(prompt: object, prompts: tuple[object, ...]) -> None:
    assert completion(prompt=prompt).prompts == prompts


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (None, "prompt"),
        ("", "prompt"),
        ([], "prompt"),
        ([""], "prompt[0]"),
        (["a", 5], "prompt[1]"),
        ([1, "a"], "prompt[1]"),
        ([1, True], "prompt[1]"),
        ([-1], "prompt[0]"),
        ([2**31], "prompt[0]"),
        ([1.5], "prompt[0]"),
        ([[]], "prompt[0]"),
        ([[1], []], "prompt[1]"),
        ([[1], ["a"]], "prompt[1][0]"),
        ([None], "prompt[0]"),
        ([{}], "prompt[0]"),
        ({}, "prompt"),
        (5, "prompt"),
        (["a"] * 129, "prompt"),
        ([[1]] * 129, "prompt"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_prompt_is_named(prompt: object, param: str) -> None:
    assert refused(parse_completion, json.dumps({"prompt": prompt}).encode()).param == param


def test_a_missing_prompt_says_so() -> None:
    assert "prompt required" in refused(parse_completion, b"{}").message


@pytest.mark.parametrize("count", [1, 128])
def test_so_many_prompts_are_taken(count: int) -> None:
    assert len(completion(prompt=["a"] * count).prompts) == count
    assert len(completion(prompt=[[1]] * count).prompts) == count


def test_several_answers_to_each_prompt_are_bounded_in_all() -> None:
    assert completion(prompt=["a"] * 8, n=16).n == 16
    error = refused(parse_completion, json.dumps({"prompt": ["a"] * 9, "n": 15}).encode())
    assert error.param == "n"
    assert "128" in error.message


def test_logprobs_are_asked_for_in_two_ways() -> None:
    assert chat().logprobs is None
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=20).logprobs == 20
    assert completion(prompt="x", logprobs=5).logprobs == 5
    assert completion(prompt="x", logprobs=0).logprobs == 0
    assert completion(prompt="x", logprobs=False).logprobs is None


@pytest.mark.parametrize(
    ("parse", "fields", "param"),
    [
        (parse_chat, {"top_logprobs": 3}, "top_logprobs"),
        (parse_chat, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (parse_chat, {"logprobs": 5}, "logprobs"),
        (parse_completion, {"logprobs": 6}, "logprobs"),
        (parse_completion, {"logprobs": True}, "logprobs"),
    ],
)
def test_logprobs_in_the_wrong_way_are_named(
    parse: Any,  # noqa: ANN401 - one of two functions
    fields: dict[str, Any],
    param: str,
) -> None:
    body = {"messages": HELLO, "prompt": "x", **fields}

    assert refused(parse, json.dumps(body).encode()).param == param


@pytest.mark.parametrize("fields", [{"echo": True}, {"suffix": "x"}])
def test_completions_refuse_by_name_too(fields: dict[str, Any]) -> None:
    error = refused(parse_completion, json.dumps({"prompt": "x", **fields}).encode())

    assert (error.code, error.param) == ("unsupported_parameter", next(iter(fields)))
