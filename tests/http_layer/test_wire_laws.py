"""Laws of the other wires: whatever is sent, it is a request or a refusal that names a field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.border import gen_of
from lattice_actors.engine.frames import decode_command, encode
from lattice_actors.errors import BadRequest
from lattice_actors.generation import Job
from lattice_http.anthropic.bodies import parse_count, parse_messages
from lattice_http.openai.chat import ChatRequest, of_chat
from lattice_http.responses.bodies import complete, parse_responses
from lattice_http.tokenizing import parse_tokenize
from tests.http_layer.test_openai_body_laws import NOW, json_values, places, replaced


def schema() -> dict[str, Any]:
    """A fresh one, so that no two places of a body are the same."""
    return {"type": "object", "properties": {"a": {"type": "string"}}}


MESSAGES: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 32000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "aa"},
                },
                {"type": "document", "source": {"type": "text", "data": "b"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "c"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "4"}],
                    "is_error": False,
                }
            ],
        },
    ],
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 5,
    "stop_sequences": ["x"],
    "stream": True,
    "tools": [{"name": "f", "description": "d", "input_schema": schema(), "type": "custom"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low"},
    "metadata": {"user_id": "u"},
}
RESPONSES: dict[str, Any] = {
    "model": "auto",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "a"},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "b"},
                {"type": "input_image", "image_url": "data:,", "detail": "auto"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "4"},
        {"type": "custom_tool_call", "call_id": "d", "name": "p", "input": "x", "namespace": "n"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "5"},
        {"type": "tool_search_call", "call_id": "e", "arguments": {"query": "x"}},
        {
            "type": "tool_search_output",
            "call_id": "e",
            "tools": [
                {
                    "type": "namespace",
                    "name": "n",
                    "description": "d",
                    "tools": [{"type": "function", "name": "g", "parameters": schema()}],
                }
            ],
        },
        {"type": "additional_tools", "tools": [{"type": "custom", "name": "h"}]},
        {
            "type": "agent_message",
            "content": [{"type": "encrypted_content", "encrypted_content": "x"}],
        },
    ],
    "max_output_tokens": 5,
    "temperature": 1,
    "top_p": 0.5,
    "tools": [
        {"type": "function", "name": "f", "parameters": schema(), "strict": True},
        {
            "type": "custom",
            "name": "p",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"},
        },
        {
            "type": "namespace",
            "name": "n",
            "description": "d",
            "tools": [{"type": "custom", "name": "p"}],
        },
        {"type": "tool_search", "execution": "client", "parameters": schema()},
        {"type": "web_search"},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "p"}],
    },
    "parallel_tool_calls": False,
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": schema()},
        "verbosity": "low",
    },
    "reasoning": {"effort": "low", "summary": "auto"},
    "truncation": "auto",
    "stream": True,
    "store": False,
    "metadata": {"a": "b"},
    "include": ["reasoning.encrypted_content"],
    "user": "me",
}
TOKENIZE_TEXT: dict[str, Any] = {"model": "auto", "prompt": "a b", "add_special_tokens": False}
TOKENIZE_CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a"}],
    "add_generation_prompt": False,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": schema()}}],
}


def read_responses(body: bytes, headers: Mapping[str, str], unix_now: float) -> ChatRequest:
    return complete(parse_responses(body), (), headers, unix_now).chat


BODIES = [
    (parse_messages, MESSAGES),
    (parse_count, MESSAGES),
    (read_responses, RESPONSES),
    (parse_tokenize, TOKENIZE_TEXT),
    (parse_tokenize, TOKENIZE_CHAT),
]
PLACES = [(number, place) for number, (_, body) in enumerate(BODIES) for place in places(body)]


def outcome(number: int, body: bytes) -> BadRequest | None:
    """Return the refusal; what is no refusal can be told to the engine."""
    parse, _ = BODIES[number]
    try:
        read: Any = parse(body, {}, NOW)
    except BadRequest as error:
        return error
    prompted = of_chat(read) if isinstance(read, ChatRequest) else read
    request = prompted.request
    [prompt] = prompted.prompts
    job = Job(prompt, 1, grammar=request.grammar, stop=request.stop, count=request.count)
    command = gen_of(1, job)
    assert decode_command(encode(command)[4:]) == command
    return None


def test_the_full_bodies_are_good() -> None:
    assert [outcome(n, json.dumps(body).encode()) for n, (_, body) in enumerate(BODIES)] == (
        [None] * len(BODIES)
    )


@given(st.sampled_from(PLACES), json_values)
def test_any_value_anywhere_gives_a_request_or_names_a_field(
    place: tuple[int, tuple[Any, ...]], value: object
) -> None:
    number, path = place

    refusal = outcome(number, json.dumps(replaced(BODIES[number][1], path, value)).encode())

    if refusal is not None:
        assert refusal.message
        assert refusal.param is not None
        # Without its messages or its prompt a count misses the one or the other.
        assert refusal.param.startswith((path[0], "prompt", "tool_choice"))


@given(st.integers(0, len(BODIES) - 1), st.binary(max_size=200) | json_values.map(json.dumps))
def test_any_body_at_all_gives_a_request_or_a_bad_request(number: int, body: bytes | str) -> None:
    refusal = outcome(number, body.encode() if isinstance(body, str) else body)

    assert refusal is None or refusal.message
