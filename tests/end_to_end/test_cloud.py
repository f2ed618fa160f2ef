"""A server that may ask the cloud, with another one of ours as the cloud, which speaks its wire."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from lattice_actors.remote.connection import KEEPALIVE_S
from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import SOURCES, Served, eventually
from tests.end_to_end.test_tools import BOTH, SAID
from tests.engine.tiny import write_tiny_model

ECHO = ("--engine-module", "lattice_actors.engine.echo")
KEY = "sk-ant-end-to-end"
HELLO: Any = [{"role": "user", "content": "hello world"}]
PLAN: Any = [{"role": "user", "content": "A roadmap with a milestone and its risks, please"}]
SETTINGS = """
[anthropic]
model = "claude-echo"
models = ["claude-said", "claude-slow"]
auto_route = true
spill_over = ["overload", "context"]
daily_cap_usd = 50

[anthropic.prices]
claude-echo = { input = 3, output = 15, cached = 0.3 }
claude-said = { input = 3, output = 15 }
claude-slow = { input = 3, output = 15 }
"""


WATCH = """
import os, sys
def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"):
        asked = args[:2] if event == "socket.getaddrinfo" else args[1:]
        if asked[-1] != 0:  # the port of its own listener
            with open(os.environ["CONNECTS"], "a") as said:
                print(event, *asked, file=said)
sys.addaudithook(hook)
"""


def watched(folder: Path) -> tuple[dict[str, str], Callable[[], list[str]]]:
    """Return an environment in which every Python process writes down whom it connects to."""
    (folder / "watch").mkdir(exist_ok=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    said = folder / "connects"
    environ = {"PYTHONPATH": f"{folder / 'watch'}{os.pathsep}{SOURCES}", "CONNECTS": str(said)}
    return environ, lambda: said.read_text().splitlines() if said.exists() else []


@pytest.fixture(scope="module")
def far(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    root = tmp_path_factory.mktemp("far")
    write_echo_model(root / "claude-echo")
    write_echo_model(root / "claude-said", say=SAID)
    write_echo_model(root / "claude-slow", step_ms=50)
    return serve("--model-root", str(root), "--api-key", KEY, *ECHO)


@pytest.fixture(scope="module")
def near_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("near")


@pytest.fixture(scope="module")
def near(serve: Callable[..., Served], far: Served, near_folder: Path) -> Served:
    folder = near_folder
    write_echo_model(folder / "models" / "home", step_ms=20, context_tokens=64)
    write_echo_model(folder / "models" / "other")
    (folder / "lattice.toml").write_text(SETTINGS)
    return serve(
        *("--config", str(folder / "lattice.toml"), "--model-root", str(folder / "models")),
        *("--max-streams-per-model", "1", "--queue-max-per-model", "2", *ECHO),
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_BASE_URL=far.url,
        LATTICE_CACHE_DIR=str(folder),
        **watched(folder)[0],
    )


@pytest.fixture(scope="module")
def client(near: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=near.url, timeout=60, trust_env=False) as client:
        yield client


def chat(client: httpx2.Client, headers: dict[str, str] | None = None, **fields: object) -> Any:  # noqa: ANN401 - a response
    body = {"messages": HELLO, "max_tokens": 5, "temperature": 1, **fields}
    return client.post("/v1/chat/completions", json=body, headers=headers or {})


def routed(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.headers["x-model-routed-to"])


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("anthropic", "claude-echo"),
        ("anthropic:claude-said", "claude-said"),
        ("anthropic/claude-said", "claude-said"),
        ("anthropic-claude-said", "claude-said"),
        ("claude-said", "claude-said"),
        ("role:nobody,anthropic-claude-said", "claude-said"),
    ],
)
def test_explicit_ids_in_all_forms(client: httpx2.Client, spec: str, model: str) -> None:
    response = chat(client, model=spec)

    assert routed(response) == f"anthropic/{model}"
    assert response.json()["model"] == f"anthropic/{model}"


@pytest.mark.parametrize("spec", ["auto", "claude-3-opus", "claude-echo", "claude*", "gpt-4o"])
def test_nothing_else_leaves(client: httpx2.Client, spec: str) -> None:
    assert routed(chat(client, model=spec)) == "mlx/home"


def test_an_answer_is_streamed_with_reasoning_calls_and_usage(near: Served) -> None:
    with openai.OpenAI(base_url=near.url + "/v1", api_key="none", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(
            model="anthropic:claude-said",
            messages=HELLO,
            tools=BOTH,
            tool_choice="auto",
            parallel_tool_calls=True,
            max_tokens=200,
            temperature=1,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)

    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas).strip() == "Let me look."
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thoughts.strip() == "It may rain."
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    names = [call.function.name for call in calls if call.function and call.function.name]
    assert names == ["get_weather", "now"]
    first = "".join(c.function.arguments or "" for c in calls if c.function and c.index == 0)
    assert json.loads(first) == {"city": "Paris", "unit": "celsius"}
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == "tool_calls"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > 0


def test_the_result_of_a_call_is_taken_back(client: httpx2.Client) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    turns = [
        {"role": "system", "content": "be brief"},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "NOON"},
    ]
    answer = chat(client, model="anthropic", messages=turns, max_tokens=50, seed=1)

    assert routed(answer) == "anthropic/claude-echo"
    assert "NOON" in answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["x-lattice-ignored-params"] == "seed"


def test_big_tasks_go_there_and_can_be_kept_from_it(client: httpx2.Client) -> None:
    answer = chat(client, messages=PLAN)

    assert routed(answer) == "anthropic/claude-echo"
    assert answer.headers["x-model-resolution"] == "escalated (big task: 3 words of a plan)"
    for headers, fields in (
        ({"X-Lattice-Auto-Route": "off"}, {}),
        ({"X-Lattice-Locality": "local-only"}, {}),
        ({"X-Lattice-Locality": "prefer-local"}, {}),
        ({}, {"model": "home"}),
    ):
        kept = chat(client, headers, messages=PLAN, **fields)
        assert routed(kept) == "mlx/home"


def test_with_local_only_nothing_leaves(
    client: httpx2.Client, near: Served, far: Served, near_folder: Path
) -> None:
    before = near.get("/v1/state")["egress"]["sums"]
    connects = watched(near_folder)[1]
    connected = connects()
    for spec in ("anthropic", "anthropic/claude-said", "anthropic-claude-said", "claude-said"):
        kept = chat(client, {"X-Lattice-Locality": "local-only"}, model=spec)
        assert routed(kept) == "mlx/home"
        assert kept.headers["x-model-resolution"] == (
            f"fallback (requested '{spec}', excluded by locality=local-only)"
        )
    assert near.get("/v1/state")["egress"]["sums"] == before
    assert connects() == connected
    time.sleep(KEEPALIVE_S)  # or the connection of another test would be used again
    assert routed(chat(client, model="anthropic")) == "anthropic/claude-echo"
    port = far.url.rpartition(":")[2]
    assert [line for line in connects()[len(connected) :] if port in line]


def test_overload_spills_over_where_no_model_was_named(client: httpx2.Client) -> None:
    def ask(number: int) -> Any:  # noqa: ANN401 - a response
        return chat(client, messages=HELLO, max_tokens=20, model="auto" if number else "home")

    chat(client, model="anthropic")  # it has begun
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, [1] * 5))
        named = list(pool.map(ask, [0] * 5))

    where = [routed(answer) for answer in answers]
    assert "anthropic/claude-echo" in where
    assert "mlx/home" in where
    spilled = answers[where.index("anthropic/claude-echo")]
    assert spilled.headers["x-model-resolution"] == "escalated (overload)"
    assert {answer.status_code for answer in named} == {200, 429}


@pytest.mark.parametrize(
    ("words", "where"), [(100, "the engine says so"), (6000, "no model has such a context")]
)
def test_what_no_context_here_holds_spills_over_where_no_model_was_named(
    client: httpx2.Client, words: int, where: str
) -> None:
    long = [{"role": "user", "content": "{} hello " * (words // 2)}]  # code: no big task
    spilled = chat(client, messages=long, stream=words == 6000)
    kept = {
        "named": chat(client, messages=long, model="home"),
        "local": chat(client, {"X-Lattice-Locality": "local-only"}, messages=long),
        "off": chat(client, {"X-Lattice-Auto-Route": "off"}, messages=long),
    }

    assert routed(spilled) == "anthropic/claude-echo", where
    assert spilled.headers["x-model-resolution"] == "escalated (context)"
    assert {name: one.status_code for name, one in kept.items()} == dict.fromkeys(kept, 400)


def test_the_cap_holds_over_a_restart_and_over_a_kill(
    serve: Callable[..., Served], far: Served, tmp_path: Path
) -> None:
    write_echo_model(tmp_path / "models" / "home")
    (tmp_path / "lattice.toml").write_text(
        '[anthropic]\nmodel = "claude-slow"\ndaily_cap_usd = 0.6\n'
        "[anthropic.prices]\nclaude-slow = { input = 3, output = 100 }\n"
    )

    def begin() -> Served:
        return serve(
            *("--config", str(tmp_path / "lattice.toml")),
            *("--model-root", str(tmp_path / "models"), *ECHO),
            ANTHROPIC_API_KEY=KEY,
            ANTHROPIC_BASE_URL=far.url,
            LATTICE_CACHE_DIR=str(tmp_path),
        )

    def ask(server: Served, **fields: object) -> httpx2.Response:
        return server.chat(model="anthropic", temperature=1, messages=HELLO, **fields)

    first = begin()
    assert ask(first, max_tokens=3).status_code == 200
    eventually(lambda: first.get("/v1/state")["cloud"]["spend"]["requests"] == 1)
    spent = first.get("/v1/state")["cloud"]["spend"]["spent_usd"]
    body = {"model": "anthropic", "messages": HELLO, "max_tokens": 5000, "temperature": 1}
    with first.client.stream(
        "POST", first.url + "/v1/chat/completions", json={**body, "stream": True}
    ) as stream:
        next(stream.iter_lines())
        first.stop(signal.SIGKILL)

    second = begin()

    told = second.get("/v1/state")["cloud"]["spend"]
    assert (told["spent_usd"], told["requests"]) == (spent, 1)
    assert told["held_usd"] > 0.5  # what was running counts whole
    refused = ask(second, max_tokens=5000)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "daily_cap_reached")
    assert ask(second, max_tokens=3).status_code == 200


def test_a_server_that_is_local_only_opens_no_connection_at_all(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    """With upstreams, a cloud and a real engine: every Python process of it is watched."""
    environ, connects = watched(tmp_path)
    write_tiny_model(tmp_path / "models" / "tiny")
    (tmp_path / "lattice.toml").write_text(
        'locality = "local-only"\n[[upstream]]\nname = "gpu"\nurl = "http://127.0.0.1:9"\n'
    )
    alone = serve(
        *("--config", str(tmp_path / "lattice.toml"), "--model-root", str(tmp_path / "models")),
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_MODEL="claude-echo",
        ANTHROPIC_BASE_URL="http://127.0.0.1:9",
        LATTICE_CACHE_DIR=str(tmp_path),
        HOME=str(tmp_path),
        **environ,
    )

    for spec in ("auto", "anthropic", "gpu/m"):
        assert routed(alone.chat(model=spec, max_tokens=2)) == "mlx/tiny"
    loosened = {"X-Lattice-Locality": "any"}
    with httpx2.Client(base_url=alone.url, timeout=60, trust_env=False) as client:
        assert routed(chat(client, loosened, model="anthropic")) == "mlx/tiny"
    alone.client.post(alone.url + "/v1/embeddings", json={"input": "hi"})
    alone.stop()

    assert connects() == []


def test_what_it_cannot_do_is_a_400_that_names_the_field(client: httpx2.Client) -> None:
    answer = chat(client, model="anthropic", frequency_penalty=1)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "frequency_penalty"


def test_a_swarm_has_agents_and_a_judge_there(client: httpx2.Client) -> None:
    body = {
        "models": ["anthropic-claude-said", "other"],
        "messages": HELLO,
        "strategy": "best-of-n",
        "judge": "anthropic",
        "max_tokens": 8,
        "temperature": 1,
    }
    answer = client.post("/swarm/vote", json=body)

    assert answer.status_code == 200, answer.text
    told = answer.json()["swarm"]
    assert told["judge"] == "anthropic/claude-echo"
    models = {row["model"] for row in told["candidates"] if row["ok"]}
    assert models == {"anthropic/claude-said", "other"}
    tokens = client.post("/swarm/fanout", json={**body, "models": ["available"], "judge": None})
    assert {row["model"] for row in tokens.json()["responses"]} == {"home", "other"}


def test_leaving_ends_it_there(near: Served, far: Served) -> None:
    key = {"X-API-Key": KEY}

    def running() -> int:
        told = far.client.get(far.url + "/v1/queue", headers=key).json()
        return int(told["running_total"])

    body = {"model": "claude-slow", "messages": HELLO, "max_tokens": 500, "stream": True}
    with near.client.stream("POST", near.url + "/v1/chat/completions", json=body) as stream:
        next(stream.iter_lines())
        eventually(lambda: running() == 1)
    eventually(lambda: running() == 0)
    eventually(lambda: near.running() == 0)


def test_it_is_shown_with_what_it_cost(client: httpx2.Client, near: Served, far: Served) -> None:
    before = near.get("/v1/state")["cloud"]["spend"]
    chat(client, model="anthropic")
    eventually(lambda: near.get("/v1/state")["cloud"]["spend"]["requests"] > before["requests"])

    state = near.get("/v1/state")
    assert state["cloud"]["models"] == [
        f"anthropic/{name}" for name in ("claude-echo", "claude-said", "claude-slow")
    ]
    assert state["cloud"]["spend"]["spent_usd"] > before["spent_usd"]
    assert state["cloud"]["spend"]["cap_usd"] == 50
    assert KEY not in json.dumps(state) + "\n".join(near.lines)
    host = far.url.removeprefix("http://")
    assert {entry["host"] for entry in state["egress"]["sums"].values()} == {host}
    health = near.get("/healthz")
    assert (health["anthropic_enabled"], health["anthropic_model"]) == (True, "claude-echo")
    swarm = near.get("/swarm/models")
    assert (swarm["anthropic_available"], swarm["anthropic_model"]) == (True, "claude-echo")
    assert "anthropic/claude-said" not in swarm["loaded"]


def test_when_it_is_gone_a_list_and_a_big_task_are_answered_here(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    write_echo_model(tmp_path / "home")
    alone = serve(
        *("--model-root", str(tmp_path), "--anthropic-auto-route", *ECHO),
        LATTICE_CACHE_DIR=str(tmp_path / "cache"),
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_MODEL="claude-echo",
        ANTHROPIC_BASE_URL="http://127.0.0.1:9",
    )
    with httpx2.Client(base_url=alone.url, timeout=60, trust_env=False) as client:
        assert routed(chat(client, model="anthropic,home")) == "mlx/home"
        assert routed(chat(client, messages=PLAN)) == "mlx/home"
        refused = chat(client, model="anthropic")
    assert refused.status_code == 502
    assert refused.json()["error"]["code"] == "upstream_unreachable"


@pytest.mark.smollm2
def test_the_built_in_model_answers_as_the_cloud(
    serve: Callable[..., Served], builtin: Served, cache: Path
) -> None:
    near = serve(
        LATTICE_CACHE_DIR=str(cache),
        HOME=str(cache),
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_MODEL="SmolLM2-135M-Instruct",
        ANTHROPIC_BASE_URL=builtin.url,
    )
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = near.chat(model="anthropic", messages=question, temperature=0, max_tokens=30)

    assert routed(answer) == "anthropic/SmolLM2-135M-Instruct"
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]
    assert answer.json()["usage"]["prompt_tokens"] > 10
