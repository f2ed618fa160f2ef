"""From bytes to a request: every field is honoured, refused by name, or listed as ignored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Grammar, Sampling, Text, Tokens
from lattice_http.openai.bodies import parse_json
from lattice_http.openai.chat import ChatRequest, parse_chat
from lattice_http.openai.completions import CompletionRequest, parse_completion
from lattice_http.openai.request import ModelRequest
from lattice_http.openai.wishes import Wishes

NOW = 1_800_000_000.0  # Unix time, seconds
Parse = Callable[[bytes, Mapping[str, str], float], ModelRequest]

HELLO = [{"role": "user", "content": "Hello"}]


def chat(headers: dict[str, str] | None = None, **fields: object) -> ChatRequest:
    body = {"messages": HELLO, **fields}
    return parse_chat(json.dumps(body).encode(), headers or {}, NOW)


def completion(**fields: object) -> CompletionRequest:
    return parse_completion(json.dumps(fields).encode(), {}, NOW)


def refused(parse: Parse, body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(body, {}, NOW)
    return caught.value


# --- JSON ---------------------------------------------------------------------------------------

BAD_JSON = [
    b"",
    b" ",
    b"hello",
    b'{"a": 1',
    b'{"a": 1} x',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": -Infinity}',
    b'{"a": 1e999}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": "\x00"}',
    b'{"a": ' + b"9" * 6000 + b"}",
    b'{"a": ' * 100_000,
    b"[" * 100_000,
    b"[]",
    b"5",
    b'"text"',
    b"null",
]


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: repr(body[:24]))
def test_what_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json(body)

    assert caught.value.message


@pytest.mark.parametrize("parse", [parse_chat, parse_completion])
@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: repr(body[:24]))
def test_no_route_takes_what_is_no_json_object(parse: Parse, body: bytes) -> None:
    assert refused(parse, body).message


def test_invalid_utf8_is_refused_also_where_nobody_reads_it() -> None:
    body = b'{"messages":[{"role":"user","content":"x"}],"unknown":"\xff"}'

    assert refused(parse_chat, body).code == "invalid_json"


def test_a_byte_order_mark_does_no_harm() -> None:
    body = b'\xef\xbb\xbf{"messages":[{"role":"user","content":"x"}]}'

    assert parse_chat(body, {}, NOW).messages[0]["content"] == "x"
    assert parse_json(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"messages": HELLO * 100_000}).encode(),
        b'{"messages":[' + b"{}," * 3_000_000 + b"{}]}",
        b'{"messages":[{"role":"user","content":"' + b"a" * 9_000_000 + b'"}]}',
        b'{"messages":[{"role":"user","content":"x"}],' + b'"k":0,' * 1_500_000 + b'"k":0}',
    ],
    ids=["100k messages", "3M empty objects", "9 MB of text", "1.5M fields"],
)
def test_a_huge_body_is_parsed_or_refused_quickly(body: bytes) -> None:
    started = time.perf_counter()
    with suppress(BadRequest):
        parse_chat(body, {}, NOW)
    # 50 to 150 ms on two shared cores; without the limits the worst of these takes many times
    # as long. Wide, for a loaded machine.
    assert time.perf_counter() - started < 2.0


def test_an_object_has_a_bounded_number_of_fields() -> None:
    many: dict[str, Any] = {f"x{index}": 1 for index in range(300)}

    assert len(chat(**dict(list(many.items())[:250])).ignored) == 250
    for fields in (many, {"queue": many}):
        error = refused(parse_chat, json.dumps({"messages": HELLO, **fields}).encode())
        assert "more than 256 fields" in error.message


def test_only_messages_and_prompt_may_be_large() -> None:
    large = "x" * 2_000_000

    assert chat(messages=[{"role": "user", "content": large}]).text_chars == 2_000_000
    assert completion(prompt=large).text_chars == 2_000_000
    error = refused(parse_chat, json.dumps({"messages": HELLO, "metadata": large}).encode())
    assert "beside messages and prompt" in error.message


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
    assert not request.has_image
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


# --- messages -----------------------------------------------------------------------------------


def test_text_parts_make_the_same_message_as_the_string() -> None:
    parts = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])

    assert parts.messages == chat().messages
    assert parts.text_chars == 5


def test_several_parts_stand_on_lines_of_their_own() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert chat(messages=[{"role": "user", "content": content}]).messages[0]["content"] == "a\nb"


def test_templates_get_only_roles_they_know() -> None:
    roles = ["system", "developer", "user", "assistant", "tool", "function"]

    request = chat(messages=[{"role": role, "content": "x"} for role in roles])

    assert [message["role"] for message in request.messages] == [
        *("system", "system", "user", "assistant", "tool", "tool"),
    ]
    assert [message["role"] for message in request.raw_messages()] == roles


def test_a_tool_conversation_is_passed_through() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = chat(
        messages=[
            {"role": "user", "content": "x", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            {"role": "assistant", "content": None, "function_call": call["function"]},
        ]
    )

    assert request.messages == (
        {"role": "user", "content": "x", "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": call["function"]}],
        },
    )


@pytest.mark.parametrize("image", [{"url": "data:image/png;base64,AA=="}, "https://a.example/b"])
def test_the_first_image_is_named(image: object) -> None:
    picture = {"type": "image_url", "image_url": image}
    content = [{"type": "text", "text": "what is it"}, picture, picture]

    request = chat(messages=[*HELLO, {"role": "user", "content": content}])

    assert request.has_image
    assert request.image_param == "messages[1].content[1]"
    assert request.messages[1]["content"] == "what is it"
    assert request.raw_messages()[1]["content"] == content


def test_an_image_without_a_place_is_refused() -> None:
    content = [{"type": "image_url", "image_url": {"detail": "low"}}]

    error = refused(
        parse_chat, json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    )

    assert error.param == "messages[0].content[0].image_url.url"


def test_size_is_known_in_characters_and_bytes() -> None:
    request = chat(messages=[{"role": "user", "content": "ä"}, {"role": "user", "content": "日本"}])

    assert (request.text_chars, request.text_bytes) == (3, 8)


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


@pytest.mark.parametrize("fields", [{"echo": True}, {"suffix": "x"}])
def test_completions_refuse_by_name_too(fields: dict[str, Any]) -> None:
    error = refused(parse_completion, json.dumps({"prompt": "x", **fields}).encode())

    assert (error.code, error.param) == ("unsupported_parameter", next(iter(fields)))


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
