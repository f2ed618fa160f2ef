"""The whole program on a real model, spoken to by the official SDK: SmolLM2 says Paris."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.serving import Served, ask_by_hand, eventually

pytestmark = pytest.mark.smollm2

PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
STORY: Any = [{"role": "user", "content": "Tell me a long story about the sea."}]
ID = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served], cache: Path) -> Served:
    """No model root at all: the built-in model is prepared and offered."""
    return serve(LATTICE_CACHE_DIR=str(cache), HOME=str(cache))


@pytest.fixture(scope="module")
def sdk(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["role:fast", "auto", "*smol*", ID, "gpt-4o"])
def test_it_says_paris_and_streams_it(sdk: openai.OpenAI, model: str) -> None:
    pieces: list[str] = []
    reason, usage = None, None
    stream = sdk.chat.completions.create(
        model=model,
        messages=PARIS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        assert chunk.model == ID
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            reason = choice.finish_reason or reason

    assert "".join(pieces) == "The capital of France is Paris."
    assert len([piece for piece in pieces if piece]) > 4  # piece by piece
    assert reason == "stop"
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (37, 8)


def test_it_says_paris_also_where_no_temperature_is_named(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="auto", messages=PARIS)

    assert answer.choices[0].message.content == "The capital of France is Paris."


def test_a_plain_answer_says_the_same_and_where_its_time_went(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="auto", messages=PARIS, temperature=0)
    answer = raw.parse()

    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert raw.headers["x-model-routed-to"] == f"mlx/{ID}"
    total = int(raw.headers["x-lattice-total-ms"])
    parts = ("resolve", "queue", "upstream")
    assert 0 < sum(int(raw.headers[f"x-lattice-{part}-ms"]) for part in parts) <= total + 3


LIBRARIAN = "You are the librarian of a small town by the sea. " * 12


def test_a_shared_system_prompt_is_told_in_the_header_and_in_usage(sdk: openai.OpenAI) -> None:
    def ask(question: str) -> Any:  # noqa: ANN401 - the SDK's own type
        messages: Any = [
            {"role": "system", "content": LIBRARIAN},
            {"role": "user", "content": question},
        ]
        return sdk.chat.completions.with_raw_response.create(
            model="auto", messages=messages, temperature=0, max_tokens=4
        )

    ask("Which book is about whales?")
    second = ask("When do you close?")

    details = second.parse().usage.prompt_tokens_details
    total = second.parse().usage.prompt_tokens
    assert details.cached_tokens > 100
    assert second.headers["x-lattice-cache"] == f"hit={details.cached_tokens}/{total}"


def test_a_stream_has_the_cache_header_too(sdk: openai.OpenAI) -> None:
    values = []
    for _ in range(2):
        with sdk.chat.completions.with_streaming_response.create(
            model="auto", messages=PARIS, temperature=0, max_tokens=4, stream=True
        ) as answer:
            values.append(answer.headers["x-lattice-cache"])
            answer.read()

    cached, total = map(int, values[1].removeprefix("hit=").split("/"))
    assert cached == total - 1  # an exact repeat


def test_an_answer_that_is_cut_off_says_length(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="auto", messages=STORY, max_tokens=7)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


def test_stop_strings_end_the_answer_before_them(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="auto", messages=PARIS, temperature=0, stop=[" of Fra", "zebra"]
    )

    assert answer.choices[0].message.content == "The capital"
    assert answer.choices[0].finish_reason == "stop"


def test_a_seed_repeats_an_answer_and_without_one_answers_differ(sdk: openai.OpenAI) -> None:
    def ask(seed: int | None) -> str:
        answer = sdk.chat.completions.create(
            model="auto",
            messages=STORY,
            temperature=1.6,
            max_tokens=12,
            seed=seed if seed is not None else openai.omit,
        )
        return answer.choices[0].message.content or ""

    assert ask(7) == ask(7)
    assert len({ask(None) for _ in range(3)}) == 3


def test_several_prompts_are_several_choices(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(
        model="auto", prompt=["Say hello.", "Say goodbye."], max_tokens=4, temperature=0
    )
    streamed: dict[int, str] = {0: "", 1: ""}
    for chunk in sdk.completions.create(
        model="auto",
        prompt=["Say hello.", "Say goodbye."],
        max_tokens=4,
        temperature=0,
        stream=True,
    ):
        streamed[chunk.choices[0].index] += chunk.choices[0].text

    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {choice.index: choice.text for choice in answer.choices} == streamed


def test_answers_keep_to_a_schema(sdk: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "country": {"type": "string", "maxLength": 20},
            "capital": {"type": "boolean"},
        },
        "required": ["city", "country", "capital"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    asked: Any = [{"role": "user", "content": "Describe Paris as JSON: city, country, capital."}]

    answer = sdk.chat.completions.create(
        model="auto", messages=asked, temperature=0.8, n=5, max_tokens=200, response_format=form
    )

    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        city = json.loads(choice.message.content or "")
        assert list(city) == ["city", "country", "capital"]
        assert type(city["capital"]) is bool


def test_text_parts_are_the_same_prompt_as_the_string(sdk: openai.OpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": PARIS[0]["content"]}]}]

    answer = sdk.chat.completions.create(model="auto", messages=parts, temperature=0)

    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 37
    assert answer.choices[0].message.content == "The capital of France is Paris."


def test_a_prompt_over_the_context_is_a_400_with_the_numbers(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "word " * 9000}]
        )

    assert caught.value.code == "context_length_exceeded"
    assert "8192" in caught.value.message


def test_raw_token_ids_outside_the_vocabulary_harm_nobody(
    server: Served, sdk: openai.OpenAI
) -> None:
    pid = server.engine_pid()
    for token in (-1, 49_152, 10**6, 2**40):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.completions.create(model="auto", prompt=[1, token], max_tokens=2)
        assert (caught.value.param or "").startswith("prompt")

    assert sdk.completions.create(model="auto", prompt=[1, 2, 3], max_tokens=2).choices
    assert server.engine_pid() == pid


def test_models_are_listed_shown_unloaded_and_loaded_again(
    server: Served, sdk: openai.OpenAI
) -> None:
    pid = server.engine_pid()
    assert [model.id for model in sdk.models.list()] == [ID]
    assert sdk.models.retrieve(ID).model_dump()["state"] == "ready"

    deleted = server.client.delete(f"{server.url}/v1/models/{ID}")

    assert deleted.json() == {"ok": True, "unloaded": ID, "deferred": False, "resident": []}
    with pytest.raises(ProcessLookupError):  # reaped: its memory is back
        os.kill(pid, 0)
    assert sdk.models.retrieve(ID).model_dump()["state"] == "cold"
    again = server.client.delete(f"{server.url}/v1/models/{ID}")
    assert again.status_code == 404
    assert sdk.chat.completions.create(model="auto", messages=PARIS, max_tokens=1).choices


def test_a_plan_says_what_would_happen_and_does_nothing(server: Served) -> None:
    body = {"model": "nonexistent,role:fast", "messages": PARIS}

    plan = server.client.post(server.url + "/v1/plan", json=body).json()

    assert plan["model"] == ID
    assert plan["candidates"] == [{"id": ID, "reason": "chosen"}]
    assert plan["queue"]["class"] == "normal"
    assert plan["load"]["needed"] is False


def test_a_client_that_leaves_costs_at_most_one_step(server: Served) -> None:
    """In decode, streaming and not, and in the prefill of a long prompt."""
    before = ghosts(server)
    bodies = [
        {"model": "auto", "messages": STORY, "max_tokens": 400, "stream": True},
        {"model": "auto", "messages": STORY, "max_tokens": 400},
        {"model": "auto", "messages": [{"role": "user", "content": "sea " * 3000}]},
    ]
    for body in bodies:
        connection = ask_by_hand(server.url, **body)
        eventually(lambda: server.running() == 1)
        time.sleep(0.5)
        connection.close()

        eventually(lambda: server.running() == 0, 5)

    assert ghosts(server) - before <= len(bodies)


def test_killing_the_engine_ends_what_was_read_and_serves_the_next(server: Served) -> None:
    ends: list[str] = []

    def read() -> None:
        with server.client.stream(
            "POST",
            server.url + "/v1/chat/completions",
            json={"model": "auto", "messages": STORY, "max_tokens": 300, "stream": True},
        ) as answer:
            lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
            ends.extend(lines[-2:])

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()

    def all_are_read() -> bool:  # who has read nothing begins again, and is not cut off
        requests = server.get("/v1/state")["requests"].values()
        read = [each for each in requests if each["phase"] == "decode" and each["tokens"] > 2]
        return len(read) == 3

    eventually(all_are_read, within_s=60)

    os.kill(server.engine_pid(), signal.SIGKILL)
    for thread in threads:
        thread.join(30)

    assert ends.count("data: [DONE]") == 3
    assert sum('"code":"model_crashed"' in end for end in ends) == 3
    assert sum('"finish_reason":"error"' in end for end in ends) == 3
    answer = server.chat(messages=PARIS, temperature=0)
    assert answer.json()["choices"][0]["message"]["content"] == "The capital of France is Paris."


def test_a_stop_lets_a_running_answer_end_and_exits_with_0(server: Served) -> None:
    """The last test of this server."""
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(server.chat(messages=STORY, max_tokens=20))
    )
    thread.start()
    time.sleep(0.5)

    assert server.stop() == 0
    thread.join(5)

    assert answers[0].json()["choices"][0]["finish_reason"] == "length"
    assert not [line for line in server.lines if "Traceback" in line]


def ghosts(server: Served) -> int:
    return int(server.get("/v1/state")["totals"]["ghost_tokens"])
