"""Tool calls and reasoning over HTTP, as the official SDK reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served

QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
        },
    },
}
NOW: Any = {"type": "function", "function": {"name": "now", "description": "The time"}}
BOTH: Any = [WEATHER, NOW]
SAID = (
    "<think>\nIt may rain.\n</think>\n\nLet me look.\n<tool_call>\n"
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)


@pytest.fixture(scope="module")
def scripted(
    serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    """A server whose model always says `SAID`."""
    root = tmp_path_factory.mktemp("models")
    write_echo_model(root / "said", say=SAID)
    served = serve("--model-root", str(root), "--engine-module", "lattice_actors.engine.echo")
    with openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(sdk: openai.OpenAI, **fields: Any) -> Any:  # noqa: ANN401 - a completion
    asked = {"model": "auto", "messages": QUESTION, "max_tokens": 200, **fields}
    return sdk.chat.completions.create(**asked)


def test_an_answer_has_reasoning_text_and_calls(scripted: openai.OpenAI) -> None:
    answer = ask(scripted, tools=BOTH)

    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.reasoning == choice.message.reasoning_content == "It may rain."
    assert choice.message.content == "Let me look."
    assert [
        (each.function.name, each.function.arguments) for each in choice.message.tool_calls
    ] == [
        ("get_weather", '{"city": "Paris", "unit": "celsius"}'),
        ("now", "{}"),
    ]
    assert 3 <= answer.usage.completion_tokens_details.reasoning_tokens < 12


def test_a_stream_is_the_same_answer_in_pieces(scripted: openai.OpenAI) -> None:
    whole = ask(scripted, tools=BOTH).choices[0].message

    asked = {"model": "auto", "messages": QUESTION, "tools": BOTH, "max_tokens": 200}
    with scripted.chat.completions.stream(**asked) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        joined = stream.get_final_completion().choices[0]

    assert joined.finish_reason == "tool_calls"
    assert joined.message.content == whole.content
    assert [call.function.arguments for call in joined.message.tool_calls or []] == [
        call.function.arguments for call in whole.tool_calls
    ]
    pieces = [call for c in chunks for call in c.choices[0].delta.tool_calls or []]
    begun = [piece.function for piece in pieces if piece.id]
    assert [function.name for function in begun if function] == ["get_weather", "now"]
    assert len(pieces) > 6  # arguments come as they are written
    reasoning = [(c.choices[0].delta.model_extra or {}).get("reasoning") or "" for c in chunks]
    assert "".join(reasoning) == "It may rain."


def test_an_answer_cut_off_in_a_call_has_its_partial_arguments(scripted: openai.OpenAI) -> None:
    cut = SAID.index('"Paris"') // 4

    [choice] = ask(scripted, tools=BOTH, max_tokens=cut).choices

    assert choice.finish_reason == "length"
    [call] = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert '{"city": "Paris"'.startswith(call.function.arguments)
    assert call.function.arguments


def test_without_tools_calls_are_text_and_one_call_may_be_all(scripted: openai.OpenAI) -> None:
    for fields in ({}, {"tools": BOTH, "tool_choice": "none"}):
        message = ask(scripted, **fields).choices[0].message
        assert message.tool_calls is None
        assert message.content == SAID.partition("</think>\n\n")[2]

    single = ask(scripted, tools=BOTH, parallel_tool_calls=False).choices[0]

    assert len(single.message.tool_calls) == 1
    assert single.finish_reason == "tool_calls"


# --- a real model, which knows no tools -----------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(builtin: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=builtin.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def check(call: Any) -> None:  # noqa: ANN401 - of the SDK
    arguments = json.loads(call.function.arguments)
    if call.function.name == "now":
        assert arguments == {}
        return
    assert call.function.name == "get_weather"
    assert {"city", "unit"} <= set(arguments) <= {"city", "unit", "days"}
    assert len(arguments["city"]) <= 20
    assert arguments["unit"] in ("celsius", "fahrenheit")
    assert arguments.get("days", 1) in range(1, 10)


@pytest.mark.smollm2
def test_a_model_that_has_to_call_always_makes_a_valid_call(smollm2: openai.OpenAI) -> None:
    answer = ask(smollm2, tools=BOTH, tool_choice="required", n=5, temperature=1.2, seed=1)

    for choice in answer.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        [call] = choice.message.tool_calls
        check(call)


@pytest.mark.smollm2
def test_a_named_function_is_called_and_its_result_can_be_told(smollm2: openai.OpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    asked: Any = {"model": "auto", "messages": QUESTION, "max_tokens": 100, "temperature": 0}
    with smollm2.chat.completions.stream(**asked, tools=BOTH, tool_choice=named) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    [call] = message.tool_calls or []
    assert call.function.name == "get_weather"
    check(call)
    told = {"role": "tool", "tool_call_id": call.id, "content": "17 degrees and sunny"}
    history = [*QUESTION, {"role": "assistant", "tool_calls": [call.model_dump()]}, told]

    answer = ask(smollm2, messages=history, tools=BOTH, tool_choice="none", max_tokens=8)

    assert answer.choices[0].message.content


@pytest.mark.smollm2
def test_what_cannot_be_held_is_refused_before_the_prompt_is_read(smollm2: openai.OpenAI) -> None:
    impossible = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": impossible}}

    with pytest.raises(openai.BadRequestError) as caught:
        ask(smollm2, tools=[tool], tool_choice="required")
    with pytest.raises(openai.BadRequestError) as effort:
        ask(smollm2, reasoning_effort="high")

    assert caught.value.param == "tools"
    assert effort.value.param == "reasoning_effort"
