"""What is asked of the cloud, for every kind of job."""

from __future__ import annotations

import itertools
import json
from typing import Any

import attrs
import pytest
from anthropic.types import message_create_params
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Chat, Grammar, Job, Sampling, Text, Tokens, ToolUse
from lattice_actors.remote.anthropic_wire import request_of

PLAIN = Sampling(temperature=1.0)
LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


def asked(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - of Job
    chat = Chat(messages or ({"role": "user", "content": "hi"},), **fields.pop("chat", {}))
    thinking = fields.pop("thinking", "adaptive")
    return request_of(Job(chat, **{"max_tokens": 99, "sampling": PLAIN, **fields}), "m", thinking)


def sent(*messages: dict[str, Any]) -> dict[str, Any]:
    return asked(chat={"source": json.dumps(messages).encode()})


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_plain_chat_says_nothing_that_was_not_asked_for() -> None:
    assert asked() == {
        "model": "m",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": [text("hi")]}],
        "stream": True,
    }


def test_system_turns_go_to_the_top_wherever_they_stood() -> None:
    request = asked(
        {"role": "system", "content": "one"},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "two"},
        {"role": "user", "content": "b"},
    )

    assert request["system"] == "one\n\ntwo"
    assert request["messages"] == [{"role": "user", "content": [text("a"), text("b")]}]


def test_images_of_both_kinds_are_sent() -> None:
    request = sent(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what?"},
                {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,QUJD"}},
                {"type": "image_url", "image_url": {"url": "https://x.invalid/a.jpg"}},
            ],
        }
    )

    assert request["messages"][0]["content"][1:] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.invalid/a.jpg"}},
    ]


def test_calls_and_what_came_of_them_go_both_ways() -> None:
    calls = [
        {"id": "call.1", "function": {"name": "look", "arguments": '{"at": "moon"}'}},
        {"id": "b", "function": {"name": "look", "arguments": ""}},
    ]
    request = sent(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call.1", "content": "round"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "and?"},
    )

    assert request["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_2e1", "name": "look", "input": {"at": "moon"}},
                {"type": "tool_use", "id": "b", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_2e1", "content": [text("round")]},
                {"type": "tool_result", "tool_use_id": "b"},
                text("and?"),
            ],
        },
    ]


def test_calls_without_ids_find_their_results() -> None:
    request = sent(
        {"role": "user", "content": "go"},
        {"role": "assistant", "function_call": {"name": "look", "arguments": "{}"}},
        {"role": "function", "name": "look", "content": "round"},
    )

    call, result = request["messages"][1]["content"][0], request["messages"][2]["content"][0]
    assert call["id"] == result["tool_use_id"]


@pytest.mark.parametrize(
    ("use", "choice"),
    [
        (ToolUse(), None),
        (ToolUse("none"), {"type": "none"}),
        (ToolUse("required"), {"type": "any"}),
        (ToolUse("required", "look"), {"type": "tool", "name": "look"}),
        (ToolUse(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (
            ToolUse("required", parallel=True),
            {"type": "any", "disable_parallel_tool_use": False},
        ),
    ],
)
def test_tools_and_how_they_may_be_called(use: ToolUse, choice: object) -> None:
    bare: Any = {"type": "function", "function": {"name": "wait", "strict": True}}
    request = asked(chat={"tools": (LOOK, bare)}, tool_use=use)

    assert request["tools"] == [
        {
            "name": "look",
            "description": "Looks.",
            "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
        {
            "name": "wait",
            "input_schema": {"type": "object", "properties": {}},
            "strict": True,
        },
    ]
    assert request.get("tool_choice") == choice


def test_sampling_stops_and_schema_are_said_in_their_words() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    request = asked(
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=5),
        stop=("END",),
        grammar=Grammar("json_schema", json.dumps(schema), "response_format"),
    )

    assert (request["temperature"], request["top_p"], request["top_k"]) == (0.5, 0.9, 5)
    assert request["stop_sequences"] == ["END"]
    assert request["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sampling": Sampling(min_p=0.1)}, "min_p"),
        ({"sampling": Sampling(presence_penalty=1)}, "presence_penalty"),
        ({"sampling": Sampling(frequency_penalty=1)}, "frequency_penalty"),
        ({"sampling": Sampling(repetition_penalty=1.1)}, "repetition_penalty"),
        ({"sampling": Sampling(logit_bias=((1, 1.0),))}, "logit_bias"),
        ({"sampling": Sampling(temperature=1.5)}, "temperature"),
        ({"logprobs": 0}, "logprobs"),
        ({"grammar": Grammar("regex", "a+", "guided_regex")}, "guided_regex"),
        ({"grammar": Grammar("choice", '["a"]', "guided_choice")}, "guided_choice"),
        ({"grammar": Grammar("json_schema", "true", "guided_json")}, "guided_json"),
        ({"chat": {"template_options": {"x": 1}}}, "chat_template_kwargs.x"),
        ({"chat": {"template_options": {"enable_thinking": True}}, "thinking": "budget"},
         "max_tokens"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**fields)

    assert refused.value.param == param
    assert refused.value.code == "unsupported_parameter"


@pytest.mark.parametrize("prompt", [Text("a"), Tokens((1,))])
def test_it_answers_chats_only(prompt: Text | Tokens) -> None:
    with pytest.raises(BadRequest) as refused:
        request_of(Job(prompt, 9), "m")

    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]},
         "messages[0].content[0]"),
        ({"content": [{"type": "audio"}]}, "messages[0].content[0]"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"content": "  "}, "messages"),
        ({"role": "system", "content": "only"}, "messages"),
    ],
)  # fmt: skip
def test_turns_that_cannot_be_sent_are_named(turn: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        sent({"role": "user", **turn})

    assert refused.value.param == param


@pytest.mark.parametrize(
    ("options", "style", "said"),
    [
        ({}, "adaptive", {}),
        ({"enable_thinking": True}, "adaptive", {"thinking": {"type": "adaptive"}}),
        ({"enable_thinking": False}, "budget", {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "none", "enable_thinking": False}, "adaptive",
         {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "minimal", "enable_thinking": True}, "adaptive",
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ({"reasoning_effort": "high"}, "budget",
         {"thinking": {"type": "enabled", "budget_tokens": 4000}}),
        ({"enable_thinking": True}, "budget",
         {"thinking": {"type": "enabled", "budget_tokens": 4000}}),
    ],
)  # fmt: skip
def test_thinking_in_both_styles(options: dict[str, Any], style: str, said: object) -> None:
    request = asked(chat={"template_options": options}, thinking=style, max_tokens=8000)

    plain = asked(max_tokens=8000)
    assert {key: value for key, value in request.items() if key not in plain} == said


def test_in_the_middle_of_calls_nobody_is_asked_to_think() -> None:
    """Its earlier thoughts would be asked for, with their signature."""
    request = asked(
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "look"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "round"},
        chat={"template_options": {"enable_thinking": True}},
    )

    assert "thinking" not in request


ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])
PARTS = st.lists(
    st.one_of(
        st.builds(lambda words: {"type": "text", "text": words}, st.text(max_size=5)),
        st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}),
    ),
    max_size=3,
)
TURNS = st.fixed_dictionaries(
    {"role": ROLES, "content": st.one_of(st.none(), st.text(max_size=5), PARTS)},
    optional={
        "tool_call_id": st.text(max_size=4),
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"function": st.just({"name": "look", "arguments": "{}"})},
                optional={"id": st.text(max_size=4)},
            ),
            max_size=2,
        ),
    },
)


@given(st.lists(TURNS, max_size=6))
def test_any_conversation_becomes_one_that_is_taken(
    turns: list[dict[str, Any]],
) -> None:
    request = sent({"role": "user", "content": "hi"}, *turns)
    messages = request["messages"]
    known = message_create_params.MessageCreateParamsBase.__annotations__
    assert request.keys() <= {*known, "stream"}
    roles = [message["role"] for message in messages]
    assert all(one != two for one, two in itertools.pairwise(roles))
    assert set(roles) <= {"user", "assistant"}
    for message in messages:
        assert message["content"]
        for each in message["content"]:
            assert each["type"] != "text" or each["text"].strip()
            name = each.get("id", each.get("tool_use_id", "x"))
            assert name.replace("_", "").replace("-", "").isalnum()
            assert name.isascii()
    texts = [part["text"] for turn in turns for part in _parts(turn) if part["type"] == "text"]
    whole = json.dumps(request, ensure_ascii=False)
    assert all(json.dumps(t, ensure_ascii=False)[1:-1] in whole for t in texts if t.strip())


def _parts(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    if isinstance(content, str):
        return [text(content)]
    return content or []


def test_the_seed_alone_is_dropped() -> None:
    assert asked(sampling=attrs.evolve(PLAIN, seed=5)) == asked()
