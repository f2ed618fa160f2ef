"""What requests may ask of their answers, over HTTP, from a real (tiny) model.

The official SDK is the client, so what comes back is what its types hold.
"""

from __future__ import annotations

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
