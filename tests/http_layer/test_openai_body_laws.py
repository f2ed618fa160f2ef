"""Laws of parsing: whatever is sent, it is a request or a refusal that names a field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.frames import Gen, decode_command, encode
from lattice_actors.errors import BadRequest
from lattice_http.openai.chat import ChatRequest, parse_chat
from lattice_http.openai.completions import CompletionRequest, parse_completion
from lattice_http.openai.request import ModelRequest

NOW = 1_800_000_000.0  # Unix time, seconds

FULL_CHAT: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:,"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "content": "4", "tool_call_id": "c"},
    ],
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 1,
    "min_p": 0.1,
    "seed": 1,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "queue": {"priority": 1, "max_queue_wait_ms": "5", "deadline_ms": 5},
    "swarm": {},
    "n": 2,
    "tools": [],
    "tool_choice": "auto",
    "functions": [],
    "function_call": "auto",
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    },
    "guided_json": None,
    "guided_regex": None,
    "guided_choice": None,
    "presence_penalty": 1,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "logit_bias": {"5": 1},
    "logprobs": True,
    "top_logprobs": 3,
    "modalities": ["text"],
    "audio": None,
    "prediction": None,
    "chat_template_kwargs": {"enable_thinking": True},
    "user": "me",
}
FULL_COMPLETION: dict[str, Any] = {
    "model": "auto",
    "prompt": ["a", "b"],
    "logprobs": 2,
    "stop": None,
    "queue": {"priority": 1},
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["user", "text", "image_url", "auto", "none", "5", "role", "content"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "priority", "x"])
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def places(value: object, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside *value*."""
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [place for key in value for place in places(value[key], (*here, key))]
    elif isinstance(value, list):
        inner = [
            place for index, each in enumerate(value) for place in places(each, (*here, index))
        ]
    return [here, *inner] if here else inner


def replaced(body: dict[str, Any], place: tuple[Any, ...], value: object) -> dict[str, Any]:
    body = copy.deepcopy(body)
    target: Any = body
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return body


def parsed(
    parse: Callable[[bytes, Mapping[str, str], float], ModelRequest], body: bytes
) -> ModelRequest | BadRequest:
    """Return what comes of *body*; any other error than `BadRequest` fails the test."""
    try:
        return parse(body, {}, NOW)
    except BadRequest as error:
        return error


def test_the_full_bodies_are_good() -> None:
    assert isinstance(parsed(parse_chat, json.dumps(FULL_CHAT).encode()), ChatRequest)
    body = json.dumps(FULL_COMPLETION).encode()
    assert isinstance(parsed(parse_completion, body), CompletionRequest)


@given(st.sampled_from(places(FULL_CHAT)), json_values)
def test_any_value_anywhere_in_a_chat_gives_a_request_or_names_a_field(
    place: tuple[Any, ...], value: object
) -> None:
    request = parsed(parse_chat, json.dumps(replaced(FULL_CHAT, place, value)).encode())

    if isinstance(request, BadRequest):
        assert request.message
        assert request.param is not None
        # `top_logprobs` is to blame where `logprobs` was taken away from under it.
        assert request.param.startswith((place[0], f"top_{place[0]}"))
        return
    assert isinstance(request, ChatRequest)
    assert all(type(message["content"]) is str for message in request.messages)
    prompt = request.prompt()
    command = Gen(
        rid=1,
        max_tokens=1,
        temperature=0.0,
        messages=[dict(message) for message in prompt.messages],
        template_options=dict(prompt.template_options),
        seed=request.seed,
        stop=list(request.stop),
        logit_bias=dict(request.logit_bias),
    )
    assert decode_command(encode(command)[4:]) == command  # the engine can be told


@given(st.sampled_from(places(FULL_COMPLETION)), json_values)
def test_any_value_anywhere_in_a_completion_gives_a_request_or_names_a_field(
    place: tuple[Any, ...], value: object
) -> None:
    body = json.dumps(replaced(FULL_COMPLETION, place, value)).encode()

    request = parsed(parse_completion, body)

    if isinstance(request, BadRequest):
        assert request.message
        assert request.param is not None
        assert request.param.startswith(place[0])
    else:
        assert isinstance(request, CompletionRequest)
        assert request.prompts


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_at_all_gives_a_request_or_a_bad_request(body: bytes) -> None:
    for parse in (parse_chat, parse_completion):
        outcome = parsed(parse, body)

        assert not isinstance(outcome, BadRequest) or outcome.message
