"""One lattice-trio in front of two others, through real sockets; and in front of mlx-lm's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import trio

from lattice_bench.conversation import Conversation
from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served, eventually
from tests.engine.tiny import write_tiny_model
from tests.remote.fault_server import (
    HEAD,
    Seen,
    answering,
    chunk,
    fault_server,
    listing,
    piece,
)

ECHO = "lattice_actors.engine.echo"
HELLO: Any = [{"role": "user", "content": "hello world"}]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_echo_model(root / "quick")
    write_echo_model(root / "slow", step_ms=50)
    return root


@pytest.fixture(scope="module")
def nodes(serve: Callable[..., Served], root: Path) -> list[Served]:
    """Two servers with the same models."""
    arguments = ("--model-root", str(root), "--engine-module", ECHO)
    return [serve(*arguments, "--api-key", "node-key"), serve(*arguments)]


@pytest.fixture(scope="module")
def front(
    serve: Callable[..., Served], nodes: list[Served], tmp_path_factory: pytest.TempPathFactory
) -> Served:
    """A server without models of its own in front of both; the first one wants a key."""
    folder = tmp_path_factory.mktemp("front")
    (folder / "lattice.toml").write_text(
        f'[[upstream]]\nname = "one"\nurl = "{nodes[0].url}/v1"\napi_key_env = "NODE_KEY"\n'
        f'[[upstream]]\nname = "two"\nurl = "{nodes[1].url}"\n'
    )
    (folder / "empty").mkdir()
    return serve(
        *("--config", str(folder / "lattice.toml"), "--model-root", str(folder / "empty")),
        *("--api-key", "front-key"),
        NODE_KEY="node-key",
    )


@pytest.fixture(scope="module")
def client(front: Served) -> Iterator[httpx2.Client]:
    key = {"Authorization": "Bearer front-key"}
    with httpx2.Client(base_url=front.url, headers=key, timeout=60, trust_env=False) as client:
        yield client


def chat(client: httpx2.Client, **fields: object) -> httpx2.Response:
    return client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 3, **fields})


def test_both_nodes_models_are_listed_with_their_state(client: httpx2.Client) -> None:
    models = client.get("/v1/models").json()["data"]

    assert {(model["id"], model["owned_by"], model["state"]) for model in models} == {
        ("one/quick", "one", "ready"),
        ("one/slow", "one", "ready"),
        ("two/quick", "two", "ready"),
        ("two/slow", "two", "ready"),
    }
    assert {model["context_length"] for model in models} == {8192}


def test_an_answer_names_the_model_that_gave_it(client: httpx2.Client) -> None:
    answer = chat(client, model="two/quick")

    assert answer.json()["choices"][0]["message"]["content"] == "echo: hello world"
    assert answer.json()["model"] == "two/quick"
    assert answer.headers["X-Model-Routed-To"] == "two/quick"
    assert answer.json()["usage"]["completion_tokens"] == 3


def test_the_keys_stay_where_they_belong(client: httpx2.Client) -> None:
    """The node would not answer to the front's key, and the front not to the node's."""
    assert chat(client, model="one/quick").status_code == 200
    wrong = httpx2.post(
        str(client.base_url) + "/v1/chat/completions",
        json={"messages": HELLO},
        headers={"Authorization": "Bearer node-key"},
        trust_env=False,
    )
    assert wrong.status_code == 401


def test_a_stream_goes_on_token_by_token(front: Served) -> None:
    with openai.OpenAI(base_url=front.url + "/v1", api_key="front-key", max_retries=0) as sdk:
        stream = sdk.chat.completions.create(
            model="slow",
            messages=HELLO,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
        came = [(time.monotonic(), chunk) for chunk in stream]

    pieces = [(at, c) for at, c in came if c.choices and c.choices[0].delta.content]
    assert len(pieces) == 8
    assert pieces[-1][0] - pieces[0][0] > 0.2  # as they came, and not at the end
    assert came[-1][1].usage is not None
    assert came[-1][1].usage.completion_tokens == 8


def test_the_same_model_on_both_is_shared_out(client: httpx2.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: chat(client, model="slow", max_tokens=6), range(8)))

    went = [answer.headers["X-Model-Routed-To"] for answer in answers]
    assert {went.count("one/slow"), went.count("two/slow")} <= {3, 4, 5}


def test_who_leaves_the_front_leaves_the_node(front: Served, nodes: list[Served]) -> None:
    host, port = front.url.removeprefix("http://").split(":")
    body = json.dumps(
        {"model": "two/slow", "messages": HELLO, "max_tokens": 5000, "stream": True}
    ).encode()
    with socket.create_connection((host, int(port))) as connection:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            "Authorization: Bearer front-key\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        eventually(lambda: nodes[1].running() == 1)
    eventually(lambda: nodes[1].running() == 0)


def test_the_conversation_that_other_servers_are_checked_with(client: httpx2.Client) -> None:
    outcomes = Conversation(client, "two/quick").row()

    assert {name: one.partition(",")[0] for name, one in outcomes.items()} == {
        "chat": "yes",
        "stream": "yes",
        "stop": "FAILED: it went on",  # it is an echo
        "schema": "not kept to",
        "choice": "FAILED: wrote none of them",  # a lattice-trio is believed
        "tools": "text",
        "leaving": "yes",
    }


def test_a_swarm_asks_both_nodes(client: httpx2.Client) -> None:
    answer = client.post(
        "/swarm/fanout",
        json={"models": ["one/quick", "two/quick"], "messages": HELLO, "max_tokens": 3},
    )

    rows = answer.json()["responses"]
    assert {(row["model"], row["ok"]) for row in rows} == {("one/quick", True), ("two/quick", True)}


def test_who_is_cancelled_at_the_front_is_gone_at_the_node(
    client: httpx2.Client, nodes: list[Served]
) -> None:
    def ask() -> httpx2.Response:
        body = {"model": "two/slow", "messages": HELLO, "max_tokens": 5000}
        named = {"X-Request-Id": "cancel-me"}
        return client.post("/v1/chat/completions", json=body, headers=named)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        eventually(lambda: nodes[1].running() == 1)
        assert client.delete("/v1/requests/cancel-me").status_code == 200

        assert answer.result().json()["error"]["code"] == "request_cancelled"
    eventually(lambda: nodes[1].running() == 0)


def test_local_only_finds_nothing_here(client: httpx2.Client) -> None:
    refused = client.post(
        "/v1/chat/completions",
        json={"messages": HELLO, "model": "two/quick"},
        headers={"X-Lattice-Locality": "local-only"},
    )

    assert refused.status_code == 400
    assert "local" in refused.json()["error"]["message"]


def test_the_state_shows_upstreams_and_what_left(client: httpx2.Client) -> None:
    state = client.get("/v1/state").json()
    health = client.get("/healthz").json()

    assert {name: one["state"] for name, one in state["upstreams"].items()} == {
        "one": "up",
        "two": "up",
    }
    assert {one["kind"] for one in state["upstreams"].values()} == {"lattice"}
    group = next(actor for actor in state["actors"] if actor["name"] == "upstreams")
    assert [child["name"] for child in group["children"]] == ["one", "two"]
    hosts = [one for one in state["egress"]["sums"].values() if one["purpose"] == "answer"]
    assert all(one["sent_bytes"] > 0 and one["received_bytes"] > 0 for one in hosts)
    assert health["ok"] is True
    assert health["mlx_models"] == []
    assert health["upstreams"]["one"]["state"] == "up"
    refused = client.post("/v1/models/one/quick/load")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_here")


def test_a_node_that_dies_is_passed_over(client: httpx2.Client, nodes: list[Served]) -> None:
    """The last test: one node is gone afterwards. Nobody who asks for the model notices."""
    nodes[0].stop(signal.SIGKILL)

    answers = [chat(client, model="quick") for _ in range(12)]

    assert [answer.status_code for answer in answers] == [200] * 12
    assert {answer.headers["X-Model-Routed-To"] for answer in answers} == {"two/quick"}
    gone = chat(client, model="one/quick")
    assert gone.status_code in (502, 503)
    assert "one" in gone.json()["error"]["message"]


ABORTS = 100


async def test_a_hundred_clients_that_leave_keep_no_connection_to_the_upstream(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    """Half of them before the first token, half in the middle of the answer."""
    left_at: dict[str, float] = {}

    async def hang(stream: trio.SocketStream, seen: Seen) -> None:
        if seen.headers["x-request-id"].startswith("middle"):
            await stream.send_all(HEAD + chunk(piece("a")))
        await seen.closed.wait()

    async with fault_server(always=hang, models=listing("m")) as server:
        begin = partial(serve, "--upstream", f"gpu={server.url}", "--model-root", str(tmp_path))
        # More at once than would run: some leave while they wait for their turn.
        front = await trio.to_thread.run_sync(partial(begin, "--queue-max-per-model", "64"))
        host, _, port = front.url.removeprefix("http://").partition(":")

        async def abort(name: str) -> None:
            body = json.dumps({"model": "gpu/m", "messages": HELLO, "stream": True}).encode()
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            head += f"X-Request-Id: {name}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            client = await trio.open_tcp_stream(host, int(port))
            await client.send_all(head.encode() + body)
            if name.startswith("middle"):
                assert (await client.receive_some()).startswith(b"HTTP/1.1 200")
            else:
                await trio.sleep(0.05)
            left_at[name] = trio.current_time()
            await trio.aclose_forcefully(client)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(ABORTS):
                    nursery.start_soon(abort, f"{('middle', 'early')[number % 2]}-{number}")
            for seen in server.asked:
                await seen.closed.wait()
            while server.connections > 1:  # noqa: ASYNC110 - one may have listed the models
                await trio.sleep(0.01)
        await trio.to_thread.run_sync(eventually, lambda: front.running() == 0)
        server.always = answering()
        again = partial(front.chat, model="gpu/m")
        answer = await trio.to_thread.run_sync(again)

    assert len(left_at) == ABORTS
    assert len(server.asked) > ABORTS / 2
    took = [one.closed_at - left_at[one.headers["x-request-id"]] for one in server.asked[:-1]]
    assert max(took) < 10, took  # 0.1 s is promised; a loaded machine is slow
    assert answer.json()["choices"][0]["message"]["content"] == "abc"


def launched(ranks: int) -> list[str]:
    """Return the command that runs mlx-lm's server, sharded over so many processes."""
    scripts = Path(sys.executable).parent
    if ranks == 1:
        return [sys.executable, "-m", "mlx_lm", "server"]
    ring = ["-n", str(ranks), "--backend", "ring", "--starting-port", str(free_port())]
    return [str(scripts / "mlx.launch"), *ring, "--", str(scripts / "mlx_lm.server")]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("ranks", [1, 2])
def test_mlx_lms_own_server_is_an_upstream(
    serve: Callable[..., Served], tmp_path: Path, ranks: int
) -> None:
    """With two ranks each has one half of every layer: a model over two machines, on one."""
    model, port = write_tiny_model(tmp_path / "tiny"), free_port()
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [
            *launched(ranks),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--model",
            str(model),
            "--log-level",
            "WARNING",
        ],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        (tmp_path / "lattice.toml").write_text(
            f'[[upstream]]\nname = "mlx-lm"\nurl = "http://127.0.0.1:{port}"\n'
            f'models = ["{model}"]\n'
        )
        front = serve(
            "--config", str(tmp_path / "lattice.toml"), "--model-root", str(tmp_path / "x")
        )
        eventually(lambda: front.client.get(front.url + "/readyz").status_code == 200, 60)
        with openai.OpenAI(base_url=front.url + "/v1", api_key="x", max_retries=0) as sdk:
            whole = sdk.chat.completions.create(
                model="tiny", messages=HELLO, max_tokens=12, temperature=0
            )
            stream = sdk.chat.completions.create(
                model="tiny", messages=HELLO, max_tokens=12, temperature=0, stream=True
            )
            text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
            with pytest.raises(openai.InternalServerError, match="does not honour") as wrong:
                sdk.chat.completions.create(
                    model="tiny",
                    messages=HELLO,
                    max_tokens=12,
                    temperature=0,
                    extra_body={"guided_choice": ["yes", "no"]},
                )

        assert wrong.value.code == "upstream_bad_answer"  # it reads no schema, and does not say so
        assert whole.choices[0].message.content == text != ""
        assert whole.usage is not None
        assert whole.usage.completion_tokens <= 12
        assert whole.usage.prompt_tokens > 0
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # `mlx.launch` alone would leave its ranks behind
        process.wait(20)
