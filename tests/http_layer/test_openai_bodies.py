"""From bytes to a request: every field is honoured, refused by name, or listed as ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lattice_actors.generation import Grammar, Sampling
from lattice_http.openai.chat import parse_chat
from lattice_http.openai.wishes import Wishes
from tests.http_layer.openai_bodies import HELLO, chat, refused

# --- the fields of chat -------------------------------------------------------------------------


def test_a_bare_request_leaves_everything_to_profile_and_settings() -> None:
    request = chat()

    assert request.spec is None
    assert request.max_tokens is None
    assert request.temperature is request.top_p is request.top_k is request.min_p is None
    assert request.seed is None
    assert request.stop == ()
    assert not request.stream
    assert not request.include_usage
    assert request.wishes == Wishes()
    assert request.ignored == ()
    assert request.swarm is None
    assert request.image_param is None
    assert request.messages == ({"role": "user", "content": "Hello"},)


def test_null_is_the_same_as_absent() -> None:
    names = [
        *("model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"),
        *("min_p", "seed", "stop", "stream", "stream_options", "queue", "swarm", "n", "tools"),
        *("tool_choice", "functions", "response_format", "logit_bias", "logprobs", "audio"),
        *("chat_template_kwargs", "user", "whatever"),
    ]

    assert chat(**dict.fromkeys(names)) == chat()


def test_all_that_is_said_arrives() -> None:
    request = chat(
        model="role:coder,auto",
        max_tokens=7,
        temperature=0,
        top_p=0.5,
        top_k=40,
        min_p=0.1,
        seed=-(2**63),
        stop=["a", "b"],
        stream=True,
        stream_options={"include_usage": True},
        chat_template_kwargs={"enable_thinking": False},
        swarm={"models": "auto"},
    )

    assert request.spec == "role:coder,auto"
    assert request.max_tokens == 7
    assert request.temperature == 0
    assert request.top_p == 0.5
    assert request.top_k == 40
    assert request.min_p == 0.1
    assert request.seed == -(2**63)
    assert request.stop == ("a", "b")
    assert request.stream
    assert request.include_usage
    assert request.template_options == {"enable_thinking": False}
    assert request.swarm == b'{"models": "auto"}'
    assert chat(stop="x").stop == ("x",)


def test_max_completion_tokens_is_the_newer_name() -> None:
    assert chat(max_completion_tokens=5).max_tokens == 5
    assert chat(max_completion_tokens=5, max_tokens=9).max_tokens == 5


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 123}, "model"),
        ({"model": ["a"]}, "model"),
        ({"model": "x" * 5000}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [5, "x"]}, "messages[0]"),
        ({"messages": [*HELLO, "x"]}, "messages[1]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": 5}],
                    }
                ]
            },
            "messages[0].content[1].text",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "abc"}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 2**31 + 1}, "max_tokens"),
        ({"max_tokens": 10**300}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2**31 + 1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": "x" * 2000}, "stop"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
        ),
        ({"queue": 5}, "queue"),
        ({"queue": []}, "queue"),
        ({"queue": {"priority": 1.5}}, "queue.priority"),
        ({"queue": {"priority": True}}, "queue.priority"),
        ({"queue": {"priority": "high"}}, "queue.priority"),
        ({"queue": {"priority": 2**63}}, "queue.priority"),
        ({"queue": {"max_queue_wait_ms": -1}}, "queue.max_queue_wait_ms"),
        ({"queue": {"deadline_ms": 0}}, "queue.deadline_ms"),
        ({"queue": {"deadline_ms": "9" * 5000}}, "queue.deadline_ms"),
        ({"swarm": []}, "swarm"),
        ({"swarm": "auto"}, "swarm"),
        ({"n": 0}, "n"),
        ({"tools": {}}, "tools"),
        ({"logit_bias": []}, "logit_bias"),
        ({"logit_bias": {"12": 101}}, "logit_bias[...]"),
        ({"logit_bias": {"12": "x"}}, "logit_bias[...]"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": dict.fromkeys(map(str, range(1025)), 1)}, "logit_bias"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"frequency_penalty": "1"}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"guided_json": [1]}, "guided_json"),
        ({"guided_json": "[1]"}, "guided_json"),
        ({"guided_json": {"a": "x" * 70_000}}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a", ""]}, "guided_choice[1]"),
        ({"guided_choice": ["x" * 1000] * 100}, "guided_choice"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_grammar": 5}, "guided_grammar"),
        ({"guided_regex": "a", "guided_grammar": "b"}, "guided_grammar"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"x": "y" * 20_000}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"x": 2**64}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"x": [[[[[[[[0]]]]]]]]}}, "chat_template_kwargs"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    error = refused(parse_chat, json.dumps({"messages": HELLO, **fields}).encode())

    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert error.code == "invalid_request"
    assert len(error.message) < 500


def test_missing_messages_are_named() -> None:
    assert refused(parse_chat, b"{}").param == "messages"


def test_a_huge_wrong_value_is_not_quoted() -> None:
    body = {"messages": [{"role": "x - at `$.seed`" * 100_000, "content": "y"}]}

    error = refused(parse_chat, json.dumps(body).encode())

    assert error.param == "messages[0].role"
    assert len(error.message) < 100


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"best_of": 2}, "best_of"),
        ({"n": 3, "best_of": 5}, "best_of"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs.chat_template"),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_we_know_and_cannot_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    error = refused(parse_chat, json.dumps({"messages": HELLO, **fields}).encode())

    assert error.code == "unsupported_parameter"
    assert error.param == param


def test_neutral_values_of_what_we_cannot_do_pass_and_are_not_listed() -> None:
    request = chat(
        n=1,
        best_of=1,
        logprobs=False,
        top_logprobs=0,
        tools=[],
        tool_choice="auto",
        functions=[],
        function_call="none",
        response_format={"type": "text"},
        presence_penalty=0,
        frequency_penalty=0.0,
        repetition_penalty=1.0,
        logit_bias={},
        suffix="",
        echo=False,
        modalities=["text"],
    )

    assert request.ignored == ()


def test_what_has_no_effect_is_listed() -> None:
    request = chat(
        user="me",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        verbosity="low",
        safety_identifier=None,
        prompt="ignored on chat",
        mirostat=2,
        stream=True,
        stream_options={"include_obfuscation": False},
        queue={"priority": 1, "color": "red"},
    )

    assert request.ignored == (
        *("user", "metadata", "store", "service_tier"),
        *("verbosity", "prompt", "mirostat"),
        *("queue.color", "stream_options.include_obfuscation", "parallel_tool_calls"),
    )


SCHEMA = {"type": "object", "title": "\u20ac"}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("fields", "kind", "told", "param"),
    [
        ({"response_format": FORMAT}, "json_schema", SCHEMA, "response_format"),
        (
            {"response_format": {"type": "json_object"}},
            "json_schema",
            {"type": "object"},
            "response_format",
        ),
        ({"guided_json": SCHEMA}, "json_schema", SCHEMA, "guided_json"),
        ({"guided_json": json.dumps(SCHEMA)}, "json_schema", SCHEMA, "guided_json"),
        ({"guided_choice": ["a", "b"]}, "choice", ["a", "b"], "guided_choice"),
    ],
)
def test_a_grammar_can_be_asked_for(
    fields: dict[str, Any], kind: str, told: object, param: str
) -> None:
    grammar = chat(**fields).grammar

    assert grammar is not None
    assert (grammar.kind, json.loads(grammar.text), grammar.param) == (kind, told, param)


def test_a_grammar_of_text_stays_as_it_is() -> None:
    assert chat(guided_regex="a+").grammar == Grammar("regex", "a+", "guided_regex")
    assert chat(guided_grammar="x").grammar == Grammar("grammar", "x", "guided_grammar")
    assert chat(response_format={"type": "text"}, guided_json=None).grammar is None


def test_the_limit_of_answers_says_its_number() -> None:
    assert chat(n=16).n == 16
    assert chat(n=2, best_of=2).n == 2
    error = refused(parse_chat, json.dumps({"messages": HELLO, "n": 17}).encode())
    assert error.param == "n"
    assert "16" in error.message


# --- sampling -----------------------------------------------------------------------------------


def test_the_caller_wins_over_the_profile() -> None:
    defaults = Sampling(temperature=0.7, top_p=0.95, top_k=5, min_p=0.1, seed=3)

    assert chat().sampling(defaults) == defaults
    said = chat(temperature=0, top_p=1, top_k=0, min_p=0, seed=0).sampling(defaults)
    assert said == Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=0)


def test_penalties_and_bias_reach_the_sampling() -> None:
    sampling = chat(
        presence_penalty=0.5,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        logit_bias={"50256": -100, "7": 2.5},
    ).sampling(Sampling())

    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -1.0)
    assert sampling.repetition_penalty == 1.1
    assert sampling.logit_bias == ((50256, -100.0), (7, 2.5))
    assert chat(logit_bias={}, presence_penalty=0).sampling(Sampling()) == Sampling()


@pytest.mark.parametrize("top_p", [0, 1e-9])
def test_a_top_p_of_nothing_leaves_the_likeliest_token(top_p: float) -> None:
    sampling = chat(top_p=top_p).sampling(Sampling())

    assert (sampling.top_p, sampling.top_k) == (1.0, 1)
