"""The other wires as the official SDKs speak them: Anthropic's messages, OpenAI's Responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served
from tests.end_to_end.test_tools import SAID

QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
CITY: Any = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
PATCH = '*** Begin Patch\n+say "hello" \\ é 😀\n*** End Patch\n'


def call(name: str, /, **arguments: object) -> str:
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


ALIASES = json.dumps({"claude-*": "said", "gpt-4o": ["nobody", "plain"]})


@pytest.fixture(scope="module")
def echoing(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A server of three models: two say the same always, the other what it was told."""
    root = tmp_path_factory.mktemp("models")
    write_echo_model(root / "said", say=SAID)
    write_echo_model(root / "plain", cycles=1)
    agent = call("apply_patch", input=PATCH) + call("crm__find", name="Ada")
    write_echo_model(root / "agent", say=agent + call("tool_search", query="x"))
    return serve(
        "--model-root",
        str(root),
        "--engine-module",
        "lattice_actors.engine.echo",
        "--api-key",
        "secret",
        LATTICE_MODEL_ALIASES=ALIASES,
        HOME=str(root),
    )


@pytest.fixture(scope="module")
def claude(echoing: Served) -> Iterator[anthropic.Anthropic]:
    options: Any = {"base_url": echoing.url, "api_key": "secret", "max_retries": 0}
    with anthropic.Anthropic(**options) as client:
        yield client


@pytest.fixture(scope="module")
def sdk(echoing: Served) -> Iterator[openai.OpenAI]:
    url = echoing.url + "/v1"
    with openai.OpenAI(base_url=url, api_key="secret", max_retries=0) as client:
        yield client


# --- Anthropic's ----------------------------------------------------------------------------------


def tools_of(*names: str) -> Any:  # noqa: ANN401 - of either SDK
    return [{"name": name, "description": "d", "input_schema": CITY} for name in names]


def test_a_message_has_thinking_text_and_tool_uses(claude: anthropic.Anthropic) -> None:
    asked: Any = {"model": "claude-sonnet-5", "max_tokens": 20000, "messages": QUESTION}
    asked |= {"tools": tools_of("get_weather", "now"), "system": [{"type": "text", "text": "x"}]}
    raw = claude.messages.with_raw_response.create(**asked)
    whole = raw.parse()

    with claude.beta.messages.stream(**asked, betas=["x"]) as stream:
        streamed = stream.get_final_message()

    kinds = ["thinking", "text", "tool_use", "tool_use"]
    assert [block.type for block in whole.content] == kinds
    assert [block.type for block in streamed.content] == kinds
    uses = [block for block in streamed.content if block.type == "tool_use"]
    assert [(use.name, use.input) for use in uses] == [
        ("get_weather", {"city": "Paris", "unit": "celsius"}),
        ("now", {}),
    ]
    assert whole.stop_reason == streamed.stop_reason == "tool_use"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert raw.headers["x-model-resolution"] == (
        "alias (requested 'claude-sonnet-5', meaning 'said')"
    )


def test_refusals_are_the_sdk_s_own_errors(claude: anthropic.Anthropic) -> None:
    asked: Any = {"model": "plain", "max_tokens": 5, "messages": QUESTION}
    with pytest.raises(anthropic.AuthenticationError) as key:
        claude.with_options(api_key="wrong").messages.create(**asked)
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.batches.list()
    with pytest.raises(anthropic.BadRequestError) as bad:
        claude.messages.create(**{**asked, "stream": True, "model": "swarmCouncil"})

    assert key.value.type == "authentication_error"
    assert bad.value.type == "invalid_request_error"


# --- Responses ------------------------------------------------------------------------------------

FUNCTIONS: Any = [
    {"type": "function", "name": name, "parameters": CITY, "strict": False}
    for name in ("get_weather", "now")
]


@pytest.mark.parametrize("summary", [None, "auto"])
def test_a_streamed_response_is_what_the_sdk_puts_together(
    sdk: openai.OpenAI, summary: str | None
) -> None:
    asked: Any = {"model": "said", "input": "What is the weather?", "tools": FUNCTIONS}
    asked |= {"reasoning": {"summary": summary}}
    whole: Any = sdk.responses.create(**asked)

    with sdk.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        streamed: Any = stream.get_final_response()

    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    for response in (whole, streamed):
        assert [item.type for item in response.output] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
        ]
        assert response.output_text == "Let me look."
        calls = [item for item in response.output if item.type == "function_call"]
        assert [(call.name, call.arguments) for call in calls] == [
            ("get_weather", '{"city": "Paris", "unit": "celsius"}'),
            ("now", "{}"),
        ]
        [thought] = [item for item in response.output if item.type == "reasoning"]
        told = thought.summary if summary else thought.content
        assert [part.text for part in told or []] == ["It may rain."]
        assert response.usage is not None
        assert response.usage.output_tokens_details.reasoning_tokens > 0


def test_tools_of_a_coding_agent_are_called_as_they_were_given(sdk: openai.OpenAI) -> None:
    find: Any = {"type": "function", "name": "find", "parameters": CITY, "strict": False}
    given: Any = [
        {"type": "custom", "name": "apply_patch", "description": "Edits files."},
        {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [find]},
        {"type": "tool_search", "execution": "client", "parameters": CITY},
        {"type": "web_search"},
    ]
    asked: Any = {"model": "agent", "input": "Go.", "tools": given}
    raw = sdk.responses.with_raw_response.create(**asked)
    whole: Any = raw.parse()

    with sdk.responses.stream(**asked) as stream:
        events: Any = list(stream)
        streamed: Any = stream.get_final_response()

    assert raw.headers["x-lattice-ignored-params"] == "tools.web_search"
    assert [tool.type for tool in whole.tools] == ["custom", "namespace", "tool_search"]
    for response in (whole, streamed):
        patch, found, search = response.output
        assert (patch.type, patch.name, patch.input) == ("custom_tool_call", "apply_patch", PATCH)
        assert (found.name, found.namespace) == ("find", "crm")
        assert json.loads(found.arguments) == {"name": "Ada"}
        assert (search.type, search.arguments) == ("tool_search_call", {"query": "x"})
    pieces = [e.delta for e in events if e.type == "response.custom_tool_call_input.delta"]
    assert "".join(pieces) == PATCH
    assert len(pieces) > 3
    [done] = [e for e in events if e.type == "response.custom_tool_call_input.done"]
    assert done.input == PATCH

    results: Any = [
        {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "patched"},
        {"type": "function_call_output", "call_id": found.call_id, "output": "42"},
        {"type": "tool_search_output", "call_id": search.call_id, "tools": [], "status": None},
    ]
    told: Any = {"model": "plain", "tools": given}
    after = sdk.responses.create(**told, input=results, previous_response_id=whole.id)
    # The same without what the server kept, as programs do that keep everything themselves.
    history: Any = [{"role": "user", "content": "Go."}, *whole.output, *results]
    again = sdk.responses.create(**told, input=history, store=False)
    assert after.output_text == again.output_text == "echo: No such tools."
    assert after.usage is not None
    assert after.usage == again.usage

    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**asked, tool_choice={"type": "web_search_preview"})
    assert caught.value.param == "tool_choice.type"


def test_a_response_goes_on_from_the_one_before_until_that_is_deleted(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(model="gpt-4o", input="one two", instructions="x")

    second = sdk.responses.create(
        model="gpt-4o", input="three", previous_response_id=first.id, metadata={"a": "b"}
    )
    items = list(sdk.responses.input_items.list(second.id, order="asc", limit=2))
    kept = sdk.responses.retrieve(second.id)
    sdk.responses.delete(first.id)

    assert (first.model, first.output_text) == ("plain", "echo: one two")
    assert second.usage is not None
    assert second.usage.input_tokens == 6  # one two, echo: one two, three
    assert [item.type for item in items] == ["message"] * 3
    assert (kept.output_text, kept.metadata) == ("echo: three", {"a": "b"})
    for gone in (first.id, "resp_none"):
        with pytest.raises(openai.NotFoundError):
            sdk.responses.retrieve(gone)
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.responses.create(model="plain", input="x", previous_response_id=gone)
        assert caught.value.code == "previous_response_not_found"


def test_an_answer_that_is_cut_off_is_incomplete_and_unstored_ones_are_gone(
    sdk: openai.OpenAI,
) -> None:
    cut: Any = sdk.responses.create(model="plain", input="a b c", max_output_tokens=2, store=False)

    assert (cut.status, cut.store) == ("incomplete", False)
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(cut.id)


# --- a real model ---------------------------------------------------------------------------------


@pytest.mark.smollm2
def test_a_count_is_exact_and_a_stop_sequence_is_told(builtin: Served) -> None:
    options: Any = {"base_url": builtin.url, "api_key": "none", "max_retries": 0}
    asked: Any = {
        "model": "claude-haiku-5",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Count: 1, 2, 3, 4, 5, 6. Again!"}],
        "tools": tools_of("get_weather"),
        "tool_choice": {"type": "none"},
    }
    with anthropic.Anthropic(**options) as client:
        counted = client.messages.count_tokens(**asked)
        message = client.messages.create(**asked, max_tokens=20000, stop_sequences=[" "])
        begun = [*asked["messages"], {"role": "assistant", "content": "1, 2, 3,"}]
        went_on = client.messages.create(
            **{**asked, "messages": begun}, max_tokens=3, extra_body={"temperature": 0}
        )

    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " ")
    assert went_on.content[0].type == "text"
    assert went_on.content[0].text.strip().startswith("4")


@pytest.mark.smollm2
def test_the_tokens_of_a_text_make_the_same_prompt(builtin: Served) -> None:
    def post(path: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
        return builtin.client.post(builtin.url + path, json={"model": "auto", **fields}).json()

    told = post("/tokenize", messages=[{"role": "user", "content": "hello"}])
    answer = post("/v1/completions", prompt=told["tokens"], max_tokens=1)
    text = post("/tokenize", prompt="hello world")

    assert told["count"] == len(told["tokens"]) == answer["usage"]["prompt_tokens"]
    assert told["max_model_len"] >= 2048
    assert 2 <= text["count"] < told["count"]


def test_an_agent_of_the_agents_sdk_calls_its_tools_and_streams(echoing: Served) -> None:
    import agents  # two seconds, which the other tests need not wait for

    called: list[tuple[str, str]] = []

    @agents.function_tool
    def get_weather(city: str, unit: str) -> str:
        called.append((city, unit))
        return "17"

    @agents.function_tool
    def now() -> str:
        return "noon"

    async def run() -> tuple[str, str, int]:
        async with openai.AsyncOpenAI(
            base_url=echoing.url + "/v1", api_key="secret", max_retries=0
        ) as client:
            with_tools = agents.Agent(
                name="forecaster",
                instructions="Be brief.",
                model=agents.OpenAIResponsesModel("said", client),
                tools=[get_weather, now],
                tool_use_behavior="stop_on_first_tool",  # the echo would call them for ever
            )
            plain = agents.Agent(name="p", model=agents.OpenAIResponsesModel("plain", client))
            quiet = agents.RunConfig(tracing_disabled=True)  # or it would tell OpenAI
            first = await agents.Runner.run(with_tools, "The weather?", run_config=quiet)
            second = agents.Runner.run_streamed(plain, "hello world", run_config=quiet)
            events = [event async for event in second.stream_events()]
            return str(first.final_output), str(second.final_output), len(events)

    told, said, events = asyncio.run(run())

    assert told in ("17", "noon")
    assert called == [("Paris", "celsius")]
    assert "hello world" in said
    assert events > 3


class Weather(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=8)
    celsius: int = pydantic.Field(ge=0, le=99)


@pytest.mark.smollm2
def test_a_response_can_be_parsed_and_a_function_has_to_be_called(builtin: Served) -> None:
    url = builtin.url + "/v1"
    asked: Any = {"model": "gpt-4o", "input": QUESTION, "max_output_tokens": 40, "temperature": 0}
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        parsed = client.responses.parse(**asked, text_format=Weather)
        called = client.responses.create(
            **asked, tools=FUNCTIONS, tool_choice={"type": "function", "name": "get_weather"}
        )
        [call] = called.output
        assert call.type == "function_call"
        told: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "17"}
        after = client.responses.create(
            model="gpt-4o", input=[told], previous_response_id=called.id, max_output_tokens=5
        )

    assert parsed.status == "completed"
    assert isinstance(parsed.output_parsed, Weather)
    assert set(json.loads(call.arguments)) == {"city"}
    assert after.output_text


@pytest.mark.smollm2
def test_what_the_engine_refuses_is_named_as_the_caller_named_it(builtin: Served) -> None:
    def blamed(path: str, **fields: object) -> object:
        answer = builtin.client.post(builtin.url + path, json={"model": "auto", **fields})
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["param"]

    long = "a " * 12_000  # tokens; so few characters that only the engine knows
    assert blamed("/v1/responses", input="hi", reasoning={"effort": "high"}) == "reasoning.effort"
    assert blamed("/v1/responses", input=long, truncation="disabled") == "input"
    turns = [{"role": "user", "content": long}]
    assert blamed("/v1/messages", messages=turns, max_tokens=5) == "messages"
