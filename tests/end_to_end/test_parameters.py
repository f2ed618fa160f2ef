"""What requests may ask of their answers, over HTTP, from a real (tiny) model.

The official SDK is the client, so what comes back is what its types hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.serving import Served
from tests.engine.tiny import write_tiny_model

HELLO: Any = [{"role": "user", "content": "hello world"}]
WARM: Any = {"temperature": 1.0, "seed": 11, "max_tokens": 12}


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    root = tmp_path_factory.mktemp("models")
    write_tiny_model(root / "tiny")
    return serve("--model-root", str(root))


@pytest.fixture(scope="module")
def sdk(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def text_of(sdk: openai.OpenAI, **fields: Any) -> str:  # noqa: ANN401 - of any field
    asked = {"model": "tiny", "messages": HELLO, **WARM, **fields}
    return sdk.chat.completions.create(**asked).choices[0].message.content or ""


# --- penalties and bias ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2},
        {"frequency_penalty": 2},
        {"extra_body": {"repetition_penalty": 1.8}},
        {"logit_bias": {"80": 5}},
    ],
    ids=str,
)
def test_a_penalty_changes_the_answer_and_can_be_repeated(
    sdk: openai.OpenAI, fields: dict[str, Any]
) -> None:
    how = {"max_tokens": 40, **fields}

    assert text_of(sdk, **how) == text_of(sdk, **how) != text_of(sdk, max_tokens=40)


def test_a_bias_on_no_token_names_the_field_and_the_limit(
    server: Served, sdk: openai.OpenAI
) -> None:
    pid = server.engine_pid()

    with pytest.raises(openai.BadRequestError) as caught:
        text_of(sdk, logit_bias={"290": 1})

    assert caught.value.param == "logit_bias"
    assert "289" in caught.value.message
    assert server.engine_pid() == pid


# --- several answers ------------------------------------------------------------------------------


def test_several_answers_are_those_of_the_seeds_in_a_row(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="tiny", messages=HELLO, n=3, **WARM)
    alone = [text_of(sdk, seed=11 + number) for number in range(3)]

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == alone
    assert len(set(alone)) == 3
    one = sdk.chat.completions.create(model="tiny", messages=HELLO, **WARM)
    assert answer.usage is not None
    assert one.usage is not None
    assert answer.usage.prompt_tokens == one.usage.prompt_tokens
    assert answer.usage.completion_tokens == 36


def test_several_streamed_answers_are_the_same_ones(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(model="tiny", messages=HELLO, n=3, **WARM)
    texts, roles, ends = {0: "", 1: "", 2: ""}, [], []
    usage = None
    for chunk in sdk.chat.completions.create(
        model="tiny",
        messages=HELLO,
        n=3,
        stream=True,
        stream_options={"include_usage": True},
        **WARM,
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles += [choice.index] if choice.delta.role else []
            ends += [choice.index] if choice.finish_reason else []

    assert list(texts.values()) == [choice.message.content for choice in whole.choices]
    assert sorted(roles) == sorted(ends) == [0, 1, 2]
    assert usage is not None
    assert whole.usage is not None
    assert usage.model_dump() == whole.usage.model_dump()


def test_several_answers_to_several_prompts(sdk: openai.OpenAI) -> None:
    prompts = ["hello", "the user"]

    answer = sdk.completions.create(model="tiny", prompt=prompts, n=2, **WARM)

    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    for number, prompt in enumerate(prompts):
        for place in range(2):
            one = sdk.completions.create(
                model="tiny", prompt=prompt, **{**WARM, "seed": 11 + place}
            )
            assert one.choices[0].text == answer.choices[2 * number + place].text


def test_more_answers_than_places_are_all_given(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "tiny")
    narrow = serve(
        *("--model-root", str(tmp_path), "--max-streams-per-model", "2"), LATTICE_QUEUE_WAIT_S="1"
    )

    narrow.chat(max_tokens=1, queue={"max_queue_wait_ms": 60_000})  # loads it
    answer = narrow.chat(n=9, max_tokens=300, temperature=1)

    assert "choices" in answer.json(), answer.text
    assert len(answer.json()["choices"]) == 9


# --- log-probabilities ----------------------------------------------------------------------------


def test_a_chat_tells_how_likely_its_tokens_were(sdk: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "messages": HELLO, "logprobs": True, "top_logprobs": 3, **WARM}
    whole = sdk.chat.completions.create(**asked).choices[0]
    streamed = [chunk.choices[0] for chunk in sdk.chat.completions.create(**asked, stream=True)]

    assert whole.logprobs is not None
    assert whole.logprobs.content is not None
    assert len(whole.logprobs.content) == 12
    spelled = b"".join(bytes(each.bytes or ()) for each in whole.logprobs.content)
    assert spelled.decode().lstrip() == whole.message.content  # mlx-lm drops a leading space
    for each in whole.logprobs.content:
        assert len(each.top_logprobs) == 3
        assert each.logprob <= each.top_logprobs[0].logprob <= 0
    entries = [
        entry for choice in streamed if choice.logprobs for entry in choice.logprobs.content or ()
    ]
    assert [(each.token, each.bytes) for each in entries] == [
        (each.token, each.bytes) for each in whole.logprobs.content
    ]
    assert [each.logprob for each in entries] == pytest.approx(
        [each.logprob for each in whole.logprobs.content], abs=1e-3
    )


def test_a_completion_tells_it_in_the_old_form(sdk: openai.OpenAI) -> None:
    choice = sdk.completions.create(model="tiny", prompt="hello", logprobs=2, **WARM).choices[0]

    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or ()) == choice.text
    assert choice.logprobs.text_offset == [
        len("".join((choice.logprobs.tokens or [])[:place])) for place in range(12)
    ]
    assert len(choice.logprobs.top_logprobs or ()) == 12


def test_who_does_not_ask_is_told_nothing(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="tiny", messages=HELLO, **WARM)

    assert answer.choices[0].logprobs is None


# --- grammars -------------------------------------------------------------------------------------

CITY: Any = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "people": {"type": "integer", "minimum": 1, "maximum": 99},
        "capital": {"type": "boolean"},
    },
    "required": ["city", "people", "capital"],
    "additionalProperties": False,
}
AS_CITY: Any = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
}


def check_city(text: str) -> None:
    city = json.loads(text)
    assert list(city) == ["city", "people", "capital"]
    assert len(city["city"]) <= 12
    assert 1 <= city["people"] <= 99
    assert type(city["capital"]) is bool


def test_answers_keep_to_a_schema(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="tiny", messages=HELLO, n=8, temperature=1, max_tokens=300, **AS_CITY
    )

    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    for choice in answer.choices:
        check_city(choice.message.content or "")


def test_a_streamed_answer_does_too(sdk: openai.OpenAI) -> None:
    stream = sdk.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=300, stream=True, **AS_CITY
    )

    check_city("".join(chunk.choices[0].delta.content or "" for chunk in stream))


@pytest.mark.parametrize(
    ("body", "pattern"),
    [
        ({"guided_choice": ["yes", "no, never"]}, "yes|no, never"),
        ({"guided_regex": "[0-9]{2}:[0-9]{2}"}, "[0-9]{2}:[0-9]{2}"),
        ({"guided_grammar": 'start: "a" | "b" "c"'}, "a|bc"),
        ({"guided_json": {"enum": [1, 22]}}, "1|22"),
    ],
    ids=str,
)
def test_the_names_of_vllm(sdk: openai.OpenAI, body: Any, pattern: str) -> None:  # noqa: ANN401
    chat = text_of(sdk, extra_body=body)
    completion = sdk.completions.create(model="tiny", prompt="hello", extra_body=body, **WARM)

    assert re.fullmatch(pattern, chat)
    assert re.fullmatch(pattern, completion.choices[0].text)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "objekt"}},
                }
            },
            "response_format",
        ),
        ({"extra_body": {"guided_regex": "(["}}, "guided_regex"),
        ({"extra_body": {"guided_grammar": "start: nowhere"}}, "guided_grammar"),
    ],
    ids=str,
)
def test_a_grammar_that_is_none_is_a_400_and_harms_nobody(
    server: Served, sdk: openai.OpenAI, fields: dict[str, Any], param: str
) -> None:
    pid = server.engine_pid()

    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.chat.completions.create(model="tiny", messages=HELLO, stream=stream, **fields)
        assert caught.value.param == param
        assert caught.value.code == "invalid_grammar"

    assert text_of(sdk)
    assert server.engine_pid() == pid
