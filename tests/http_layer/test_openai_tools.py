"""Tools and reasoning in the bodies of chats, on the way in and on the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from lattice_actors.errors import BadRequest
from lattice_actors.generation import CallPiece, Delta, FinishReason, TokenLogprob, ToolUse, Usage
from lattice_http.openai.answers import chat_completion, whole
from lattice_http.openai.chat import ChatRequest, parse_chat
from lattice_http.openai.chunks import ChunkEncoder, TextChunkEncoder
from lattice_http.openai.completions import parse_completion

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": SCHEMA, "strict": True},
}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now", "strict": None}}
USAGE = Usage(7, 9, 5, 4)


def chat(**fields: Any) -> ChatRequest:  # noqa: ANN401 - of any field
    body = {"messages": [{"role": "user", "content": "Hello"}], **fields}
    return parse_chat(json.dumps(body).encode(), {}, 0.0)


# --- the way in -----------------------------------------------------------------------------------


def test_tools_reach_the_job_as_templates_take_them() -> None:
    request = chat(tools=[WEATHER, NOW], parallel_tool_calls=False)

    assert request.tools == (WEATHER, {"type": "function", "function": {"name": "now"}})
    assert request.prompt().tools == request.tools
    assert json.loads(request.prompt().source) == [{"role": "user", "content": "Hello"}]
    assert request.tool_use == ToolUse("auto", parallel=False)
    assert request.ignored == ()


@pytest.mark.parametrize(
    ("choice", "use"),
    [
        (None, ToolUse()),
        ("none", ToolUse("none")),
        ("auto", ToolUse()),
        ("required", ToolUse("required")),
        ({"type": "function", "function": {"name": "now"}}, ToolUse("required", "now")),
    ],
    ids=str,
)
def test_every_choice_is_understood(choice: object, use: ToolUse) -> None:
    assert chat(tools=[WEATHER, NOW], tool_choice=choice).tool_use == use


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


def with_parameters(parameters: object) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": 5}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [NOW, NOW]}, "tools[1].function.name"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [NOW] * 129}, "tools"),
        *(
            (
                {"tools": [{"type": "function", "function": {"name": name}}]},
                "tools[0].function.name",
            )
            for name in ("", "a b", "é", "a" * 65, "a\n")
        ),
        (with_parameters([]), "tools[0].function.parameters"),
        (with_parameters({"type": "array"}), "tools[0].function.parameters.type"),
        (with_parameters({"properties": []}), "tools[0].function.parameters.properties"),
        (with_parameters({"required": {}}), "tools[0].function.parameters.required"),
        (with_parameters(deep(40)), "tools[0].function.parameters"),
        (with_parameters({"a": 2**64}), "tools[0].function.parameters"),
        (with_parameters({"a": "x" * 70_000}), "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [NOW], "tool_choice": "must"}, "tool_choice"),
        ({"tools": [NOW], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {"tools": [NOW], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [NOW], "guided_regex": "x"}, "guided_regex"),
        ({"tools": [NOW], "guided_grammar": "x"}, "guided_grammar"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(**fields)

    assert caught.value.param == param
    assert len(str(caught.value)) < 300


def test_completions_call_no_tools() -> None:
    for fields in ({"tools": [NOW]}, {"tool_choice": "required"}):
        with pytest.raises(BadRequest) as caught:
            parse_completion(json.dumps({"prompt": "x", **fields}).encode(), {}, 0.0)

        assert caught.value.param == next(iter(fields))


def test_effort_is_told_to_the_template_unless_it_was_told_otherwise() -> None:
    assert chat(reasoning_effort="high").template_options == {
        "reasoning_effort": "high",
        "enable_thinking": True,
    }
    off = chat(reasoning_effort="none", chat_template_kwargs={"thinking_budget": 5})
    assert off.template_options["enable_thinking"] is False
    assert off.template_options["thinking_budget"] == 5
    both = chat(reasoning_effort="high", chat_template_kwargs={"enable_thinking": False})
    assert both.template_options["enable_thinking"] is False


def test_reasoning_in_the_history_has_two_names() -> None:
    for name in ("reasoning", "reasoning_content"):
        request = chat(messages=[{"role": "assistant", "content": "a", name: "hm"}])

        assert request.messages[0]["reasoning_content"] == "hm"


# --- the way out ----------------------------------------------------------------------------------

CALLING = [
    Delta("", reasoning="I "),
    Delta("So", reasoning="see"),
    Delta("", calls=(CallPiece(0, "c1", "weather"),)),
    Delta("", calls=(CallPiece(0, arguments='{"city": '),)),
    Delta("", calls=(CallPiece(0, arguments='"é"}'), CallPiece(1, "c2", "now", "{}"))),
]


def test_a_whole_answer_has_calls_and_reasoning() -> None:
    answer = whole(CALLING, FinishReason.TOOL_CALLS, logprobs=False)

    told = chat_completion("x", 1, "m", [answer], USAGE)

    choice = ChatCompletion.model_validate(told, strict=True).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "So"
    calls = choice.message.model_dump()["tool_calls"]
    assert [(each["id"], each["type"], each["function"]) for each in calls] == [
        ("c1", "function", {"name": "weather", "arguments": '{"city": "é"}'}),
        ("c2", "function", {"name": "now", "arguments": "{}"}),
    ]
    extra = choice.message.model_extra or {}
    assert extra["reasoning"] == extra["reasoning_content"] == "I see"
    assert told["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}


def test_content_is_null_where_something_else_is_said() -> None:
    calling = whole(CALLING[2:], FinishReason.TOOL_CALLS, logprobs=False)
    thinking = whole(CALLING[:1], FinishReason.LENGTH, logprobs=False)
    silent = whole([], FinishReason.STOP, logprobs=False)

    messages = [
        choice["message"]
        for choice in chat_completion("x", 1, "m", [calling, thinking, silent], USAGE)["choices"]
    ]

    assert [message["content"] for message in messages] == [None, None, ""]
    assert "reasoning" not in messages[0]
    assert "tool_calls" not in messages[1]
    assert set(messages[2]) == {"role", "content", "refusal"}


def test_chunks_have_the_role_first_and_each_part_once() -> None:
    encoder = ChunkEncoder("x", 0, "m")

    frames = [encoder.delta(each) for each in CALLING]

    deltas = [json.loads(frame[6:])["choices"][0]["delta"] for frame in frames]
    assert deltas == [
        {"role": "assistant", "content": "", "reasoning_content": "I ", "reasoning": "I "},
        {"content": "So", "reasoning_content": "see", "reasoning": "see"},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {
            "tool_calls": [
                {"index": 0, "function": {"arguments": '"é"}'}},
                {
                    "index": 1,
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "now", "arguments": "{}"},
                },
            ]
        },
    ]
    last = encoder.finish(FinishReason.TOOL_CALLS)
    assert json.loads(last[6:])["choices"][0]["finish_reason"] == "tool_calls"


def test_an_answer_that_begins_with_a_call_has_no_content() -> None:
    first = ChunkEncoder("x", 0, "m").delta(CALLING[2])

    delta = json.loads(first[6:])["choices"][0]["delta"]

    assert (delta["role"], delta["content"]) == ("assistant", None)


def test_a_completion_shows_its_text_alone() -> None:
    encoder = TextChunkEncoder("x", 0, "m")

    assert encoder.delta(CALLING[0]) == b""
    assert json.loads(encoder.delta(CALLING[1])[6:])["choices"][0]["text"] == "So"


texts = st.text(max_size=5)
calls = st.builds(
    lambda new, index, text: (
        CallPiece(index, f"c{index}", "f") if new else CallPiece(index, "", "", text)
    ),
    st.booleans(),
    st.integers(0, 2),
    texts,
)
told = st.lists(st.builds(TokenLogprob, st.binary(max_size=2), st.just(-1.0)), max_size=1)
deltas = st.builds(
    lambda text, logprobs, reasoning, pieces: Delta(
        text, 1, tuple(logprobs), reasoning, tuple(pieces)
    ),
    texts,
    told,
    texts,
    st.lists(calls, max_size=2),
)


@given(st.lists(deltas, max_size=6))
def test_the_chunks_of_a_stream_are_the_whole_answer(pieces: list[Delta]) -> None:
    answer = whole(pieces, FinishReason.STOP, logprobs=False)
    message = chat_completion("x", 1, "m", [answer], USAGE)["choices"][0]["message"]
    encoder = ChunkEncoder("x", 0, "m")

    chunks = [ChatCompletionChunk.model_validate_json(encoder.delta(p)[6:]) for p in pieces]

    said = [chunk.choices[0].delta for chunk in chunks]
    extra = [delta.model_extra or {} for delta in said]
    arguments: dict[int, str] = {}
    for delta in said:
        for call in delta.tool_calls or []:
            assert call.function is not None
            text = call.function.arguments or ""
            arguments[call.index] = arguments.get(call.index, "") + text
    assert "".join(delta.content or "" for delta in said) == (message["content"] or "")
    assert "".join(each.get("reasoning", "") for each in extra) == message.get("reasoning", "")
    assert [arguments[index] for index in sorted(arguments)] == [
        call["function"]["arguments"] for call in message.get("tool_calls", [])
    ]
    assert [delta.role for delta in said] == ["assistant", *[None] * len(said)][: len(said)]
