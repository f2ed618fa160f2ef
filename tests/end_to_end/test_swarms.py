"""Swarms on a running server: SmolLM2 votes, argues and is cut short; an engine dies midway."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import openai
import pytest

from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served, eventually

ECHO = "lattice_actors.engine.echo"
PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
STORY: Any = [{"role": "user", "content": "Tell me a long story about the sea."}]
ID = "SmolLM2-135M-Instruct"
THREE: Any = [{"model": "auto", "samples": 3}]


@pytest.fixture(scope="module")
def sdk(builtin: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=builtin.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def post(server: Served, path: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
    answer = server.client.post(server.url + path, json={"messages": PARIS, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(server: Served, path: str, **fields: object) -> Generator[tuple[str, Any], None, None]:
    """Ask for a stream; yield its events as (name, JSON) while they come."""
    body = {"messages": PARIS, "stream": True, **fields}
    with server.client.stream("POST", server.url + path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        name = "data"
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and line != "data: [DONE]":
                yield name, json.loads(line[6:])
                name = "data"


# --- a real model -----------------------------------------------------------------------------


@pytest.mark.smollm2
def test_a_judge_of_135m_parameters_gives_a_valid_vote(sdk: openai.OpenAI) -> None:
    swarm = {"models": THREE, "strategy": "best-of-n", "judge": "auto"}
    raw = sdk.chat.completions.with_raw_response.create(
        model="swarmVote",
        messages=PARIS,
        temperature=0.9,
        max_tokens=16,
        seed=3,
        extra_body={"swarm": swarm},
    )
    answer = raw.parse()
    told: Any = answer.model_extra["swarm"] if answer.model_extra else None

    assert answer.model == f"swarm/{ID}"
    candidates = {row["branch"]: row["text"] for row in told["candidates"]}
    assert answer.choices[0].message.content == candidates[told["winner_branch"]]
    assert sorted(candidates) == [0, 1, 2]
    assert sum(vote["share"] for vote in told["votes"]) == pytest.approx(1, abs=1e-3)
    assert 0 < told["label_mass"] <= 1
    assert told["judge"] == ID
    assert raw.headers["x-swarm-winner"] == ID
    assert raw.headers["x-swarm-canonical-name"] == "swarmCouncil"
    assert answer.usage is not None
    spent = sum(row["usage"]["completion_tokens"] for row in told["candidates"])
    assert answer.usage.completion_tokens >= spent  # and the judge's


@pytest.mark.smollm2
@pytest.mark.parametrize("strategy", ["majority", "first-success", "synthesis"])
def test_the_sdk_streams_a_council(sdk: openai.OpenAI, strategy: str) -> None:
    swarm = {"models": THREE, "strategy": strategy, "judge": "auto"}
    pieces: list[str] = []
    last: Any = None
    stream = sdk.chat.completions.create(
        model="swarmCouncil",
        messages=PARIS,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"swarm": swarm},
    )
    for chunk in stream:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            last = chunk if choice.finish_reason else last

    assert last.model_extra["swarm"]["strategy"] == strategy
    assert "".join(pieces).strip()
    if strategy != "synthesis":
        assert "Paris" in "".join(pieces)


@pytest.mark.smollm2
def test_a_stopped_branch_leaves_the_text_of_the_others_as_it_was(builtin: Served) -> None:
    asked: Any = {"models": THREE, "messages": STORY, "max_tokens": 16, "seed": 11}
    asked["temperature"] = 0.8
    alone = post(builtin, "/swarm/fanout", **asked)["responses"]
    session, stopped, pieces, final = "", None, {0: "", 1: "", 2: ""}, None

    for name, told in events(builtin, "/swarm/fanout", **asked):
        session = told["session"] if name == "session" else session
        final = told if name == "data" else final
        if name == "branch":
            pieces[told["branch"]] += told["delta"]["content"]
            if stopped is None and len(pieces[1]) > 10:
                url = f"{builtin.url}/swarm/sessions/{session}/branches/1"
                stopped = builtin.client.delete(url).status_code

    assert stopped == 200
    assert final is not None
    rows = final["responses"]
    assert rows[1]["error_kind"] == "cancelled"
    assert (rows[0]["text"], rows[2]["text"]) == (alone[0]["text"], alone[2]["text"])
    assert (pieces[0], pieces[2]) == (rows[0]["text"], rows[2]["text"])
    assert alone[1]["text"].startswith(pieces[1])
    assert len(pieces[1]) < len(alone[1]["text"])


@pytest.mark.smollm2
def test_a_pipeline_hands_its_text_on(builtin: Served) -> None:
    steps = [
        {"name": "fact"},
        {"name": "again", "user": "Repeat this sentence word by word: {{fact}}"},
    ]

    answer = post(builtin, "/swarm/pipeline", steps=steps, temperature=0, max_tokens=20)

    history = answer["swarm"]["history"]
    assert [step["name"] for step in history] == ["fact", "again"]
    assert history[0]["text"] == "The capital of France is Paris."
    assert "Paris" in history[1]["text"]  # it does not know that from its own prompt
    assert answer["choices"][0]["message"]["content"] == history[1]["text"]
    assert answer["usage"]["completion_tokens"] == sum(
        step["usage"]["completion_tokens"] for step in history
    )


@pytest.mark.smollm2
def test_a_debate_has_rounds_and_a_conclusion(builtin: Served) -> None:
    two = [{"model": "auto", "samples": 2}]

    answer = post(
        builtin, "/swarm/debate", models=two, judge="auto", temperature=0.7, seed=1, max_tokens=16
    )

    transcript = answer["swarm"]["transcript"]
    assert [said["round"] for said in transcript] == [1, 1, 2, 2]
    assert answer["model"] == f"swarm/debate/{ID}"
    assert answer["choices"][0]["message"]["content"]


@pytest.mark.smollm2
@pytest.mark.parametrize("leave_at", ["session", "branch", "branch_done", "answer"])
def test_a_client_that_leaves_takes_its_swarm_along(builtin: Served, leave_at: str) -> None:
    judged: Any = {"strategy": "synthesis", "judge": "auto", "max_tokens": 400}
    first = {"model": "auto", "max_tokens": 3}

    second = {"model": "auto", "max_tokens": 300 if leave_at == "branch" else 12}
    with closing(
        events(builtin, "/swarm/vote", models=[first, second], messages=STORY, **judged)
    ) as told:
        assert any(name == leave_at for name, _ in told), "it did not come so far"

    eventually(lambda: builtin.running() == 0)
    assert builtin.get("/v1/queue")["waiting_total"] == 0
    eventually(
        lambda: all("ended_ms" in one for one in builtin.get("/v1/state")["requests"].values())
    )


# --- engines that die -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def echoing(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    root = tmp_path_factory.mktemp("models")
    for name in ("one", "two"):
        write_echo_model(root / name, step_ms=20)
    return serve("--model-root", str(root), "--engine-module", ECHO)


def test_a_killed_engine_costs_a_row_and_not_the_vote(echoing: Served) -> None:
    asked: Any = {"models": ["one", "two"], "strategy": "longest", "max_tokens": 60}
    killed = threading.Event()
    final: Any = None

    for name, told in events(echoing, "/swarm/vote", **asked):
        if name == "branch" and told["model"] == "one" and not killed.is_set():
            killed.set()
            os.kill(echoing.engine_pid("one"), signal.SIGKILL)
        final = told if name == "data" else final

    rows = final["swarm"]["candidates"]
    assert [row["error_kind"] for row in rows] == ["model_crashed", None]
    assert final["swarm"]["winner"] == "two"


def test_a_swarm_of_which_all_engines_die_is_an_error_with_reasons(echoing: Served) -> None:
    asked: Any = {"models": ["two"], "strategy": "longest", "max_tokens": 60}
    told: list[tuple[str, Any]] = []

    for name, body in events(echoing, "/swarm/vote", **asked):
        if name == "branch" and len(told) == 1:
            os.kill(echoing.engine_pid("two"), signal.SIGKILL)
        told.append((name, body))

    name, body = told[-1]
    assert name == "error"
    assert body["error"]["code"] == "swarm_failed"
    assert body["error_details"]["kinds"] == {"model_crashed": 1}
