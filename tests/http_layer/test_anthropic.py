"""Anthropic's wire: what its clients send, refusals in its shape, pings, counting."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.verdicts import Limits
from lattice_actors.errors import BadRequest
from lattice_actors.generation import Delta, FinishReason, Usage
from lattice_http.anthropic.answers import MessageFrames, whole_message
from lattice_http.anthropic.bodies import MAX_TOOLS, parse_messages
from lattice_http.app import make_app
from lattice_http.openai.chat import ChatRequest
from lattice_http.request_line import Sizes
from lattice_http.security import SecurityPolicy
from tests.actors.house import LOAD_S
from tests.http_layer.test_answers_over_asgi import HELLO, PATIENT, Answered, Client, open_client

PATH = "/v1/messages"


def read(**fields: Any) -> ChatRequest:  # noqa: ANN401 - JSON
    body = {"model": "a", "max_tokens": 32000, "messages": HELLO, **fields}
    return parse_messages(json.dumps(body).encode(), {}, 0.0)


def refused(**fields: Any) -> BadRequest:  # noqa: ANN401 - JSON
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    return caught.value


async def send(client: Client, path: str = PATH, *, query: str = "", **fields: Any) -> Answered:  # noqa: ANN401
    body = {"model": "a", "max_tokens": 3, "messages": HELLO, **fields}
    return await client.send("POST", path, body, query=query)


def events(answered: Answered) -> list[Any]:
    lines = [line for frame in answered.frames for line in frame.split("\n")]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


# --- bodies ---------------------------------------------------------------------------------------


def test_what_coding_agents_send_is_understood() -> None:
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    tool = {"name": "n" * 128, "input_schema": {"type": "object"}, **cached, "defer_loading": True}

    asked = read(
        system=[{"type": "text", "text": "a", **cached}, {"type": "text", "text": "b"}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "<r>c</r>", **cached}]},
            {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", **cached}]},
        ],
        tools=[{**tool, "name": f"mcp__{number}"} for number in range(MAX_TOOLS - 1)] + [tool],
        metadata={"user_id": "u"},
        context_management={"edits": []},
        service_tier="auto",
        thinking={"type": "enabled", "budget_tokens": 31999},
    )

    assert [turn["content"] for turn in asked.messages] == ["a\nb", "<r>c</r>", "", ""]
    assert asked.messages[3]["role"] == "tool"
    assert asked.shorten
    assert asked.template_options["enable_thinking"] is True
    assert set(asked.ignored) == {
        "metadata",
        "context_management",
        "service_tier",
        "thinking.budget_tokens",
    }


AT = "messages[0].content"
TEXT = {"type": "text"}


def said(*blocks: object) -> object:
    return {"role": "user", "content": [*blocks]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
            "messages[0].content[0].type",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "n" * 129, "input_schema": {}}]}, "tools[0].name"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"output_format": {"type": "json_schema", "schema": 5}}, "output_format.schema"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "yaml"}}}, "output_config.format.type"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"messages": [said({"type": "text", "text": "a"}, {"type": "text"})]}, AT + "[1].text"),
        ({"messages": [said({"type": "text", "text": "a"}, TEXT | {"text": 5})]}, AT + "[1].text"),
        ({"messages": [said({"type": "image", "source": {"type": "x"}})]}, AT + "[0].source"),
        ({"messages": [said({"type": "tool_use", "id": "a", "name": "f"})]}, AT + "[0].input"),
        ({"messages": [said({"type": "tool_result"})]}, AT + "[0].tool_use_id"),
        (
            {"messages": [said({"type": "tool_result", "tool_use_id": "a", "content": [{}]})]},
            AT + "[0].content[0].type",
        ),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"tools": [{"name": "f", "input_schema": 5}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {}}, "thinking.type"),
        ({"stop_sequences": ["a", 5]}, "stop_sequences[1]"),
    ],
    ids=str,
)
def test_what_is_not_known_here_is_refused_by_its_place(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_an_answer_that_has_begun_is_continued() -> None:
    begun = [*HELLO, {"role": "assistant", "content": "The answer is"}]
    called = [
        *HELLO,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        },
    ]

    assert read(messages=begun).template_options == {
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    assert read(messages=called).template_options == {}
    assert read().template_options == {}


def test_the_stop_sequence_that_ended_an_answer_is_told() -> None:
    usage, deltas = Usage(1, 1), [Delta("a")]
    frames = MessageFrames("msg_1", "m")

    whole = whole_message("msg_1", "m", deltas, FinishReason.STOP, usage, "END")
    told = frames.finish(FinishReason.STOP, 0, "END") + frames.ended(usage, "")
    cut = whole_message("msg_1", "m", deltas, FinishReason.LENGTH, usage)

    assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", "END")
    assert b'"delta":{"stop_reason":"stop_sequence","stop_sequence":"END"}' in told
    assert (cut["stop_reason"], cut["stop_sequence"]) == ("max_tokens", None)


# --- over ASGI ------------------------------------------------------------------------------------


async def test_a_long_wait_opens_the_message_and_pings(autojump_clock: MockClock) -> None:
    limits = Limits(ageing_s=100)
    async with open_client(limits, keepalive_s=10.0) as client, trio.open_nursery() as nursery:
        await client.chat(max_tokens=1)
        for _ in range(8):
            nursery.start_soon(lambda: client.chat(max_tokens=35))
        await trio.sleep(1)
        body = {"model": "a", "max_tokens": 2, "messages": HELLO, "stream": True}
        patience = {"X-MLX-Max-Queue-Wait-Ms": "1000000"}

        answered = await client.send("POST", PATH, body, query="beta=true", more=patience)

    kinds = [event["type"] for event in events(answered)]
    assert kinds[:4] == ["message_start", "ping", "ping", "ping"]
    assert kinds[4:] == [
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_a_failure_in_the_middle_is_an_error_event(autojump_clock: MockClock) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def ask() -> None:
            answers.append(await send(client, stream=True, max_tokens=50))

        nursery.start_soon(ask)
        await trio.sleep(LOAD_S + 3.5)
        client.house.plan.engines["a"].crash()
        await trio.sleep(30)

    [answered] = answers
    last = events(answered)[-1]
    assert answered.status == 200
    assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")
    assert last["error"]["code"] == "model_crashed"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_full_queue_refuses_in_this_wire_s_shape(
    autojump_clock: MockClock, stream: bool
) -> None:
    limits = Limits(queue_max_per_model=1, ageing_s=100)
    async with open_client(limits) as client, trio.open_nursery() as nursery:
        await client.chat(max_tokens=1)
        for _ in range(9):
            nursery.start_soon(lambda: client.chat(max_tokens=300, queue=PATIENT))
        await trio.sleep(5)

        answered = await send(client, stream=stream)

        nursery.cancel_scope.cancel()
    assert answered.status == 429
    assert (answered.body["type"], answered.body["error"]["type"]) == ("error", "rate_limit_error")
    assert answered.body["error"]["code"] == "queue_overloaded_model"
    assert int(answered.headers["retry-after"]) > 1
    assert answered.body["retry"]["retry_after_sec"] >= 1


async def test_guards_and_routes_refuse_in_this_wire_s_shape(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        policy = SecurityPolicy(api_key="secret", sizes=Sizes(body_bytes=500))
        client.app = make_app(client.gateway, policy)
        key = {"x-api-key": "secret", "anthropic-version": "2023-06-01", "anthropic-beta": "x"}
        long = {"messages": [{"role": "user", "content": "a" * 500}]}
        good = {"model": "a", "max_tokens": 1, "messages": HELLO}
        swarm = {**good, "model": "swarmCouncil"}

        told = {
            "no key": await client.send("POST", PATH, good),
            "large": await client.send("POST", PATH, long, more=key),
            "method": await client.send("GET", PATH, more=key),
            "path": await client.send("POST", f"{PATH}/batches", {}, more=key),
            "host": await client.send("POST", f"{PATH}/count_tokens", {}, more=key),
            "swarm": await client.send("POST", PATH, swarm, more=key),
            "good": await client.send("POST", PATH, good, more=key),
        }
        other = await client.send("POST", "/v1/messagesque", {}, more=key)

    assert told.pop("good").status == 200
    assert "type" not in other.body
    seen = {name: (one.status, one.body["error"]["type"]) for name, one in told.items()}
    assert all(one.body["type"] == "error" for one in told.values())
    assert seen == {
        "no key": (401, "authentication_error"),
        "large": (413, "request_too_large"),
        "method": (405, "invalid_request_error"),
        "path": (404, "not_found_error"),
        "host": (400, "invalid_request_error"),
        "swarm": (400, "invalid_request_error"),
    }


async def test_a_thread_is_refused_so_that_the_sdk_sends_the_whole_conversation(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        plain = await send(client, thread=None)
        answered = await send(client, thread={"type": "create"})

    assert plain.status == 200
    assert "thread" not in plain.headers.get("x-lattice-ignored-params", "")
    assert answered.status == 400
    assert answered.body["error"]["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }


async def test_a_count_waits_for_the_model_like_a_message(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        start = trio.current_time()
        counted = await send(client, f"{PATH}/count_tokens", max_tokens=None)

        assert counted.status == 200
        assert counted.body == {"input_tokens": 3}  # what the fake engine says of any prompt
        assert trio.current_time() - start >= LOAD_S
        assert counted.headers["x-model-routed-to"] == "mlx/a"
        assert await client.house.running() == {"a": 0}
