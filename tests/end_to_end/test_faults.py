"""Bad input and faults, on a running server whose engines echo and break on command."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served, ask_by_hand, eventually

ECHO = "lattice_actors.engine.echo"
HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that answer, and some that cannot."""
    root = tmp_path_factory.mktemp("models")
    write_echo_model(root / "quick")
    write_echo_model(root / "slow", step_ms=50, load_ms=300)
    write_echo_model(root / "poisoned", step_ms=5, crash_on="poison")
    write_echo_model(root / "failing", load_error={"text": "no memory left", "permanent": False})
    for name in ("truncated", "untokenised", "unknown"):
        write_echo_model(root / name)
    weights = root / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (root / "untokenised" / "tokenizer.json").unlink()
    config = json.loads((root / "unknown" / "config.json").read_text())
    (root / "unknown" / "config.json").write_text(json.dumps({**config, "model_type": "marvin"}))
    return root


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served], root: Path) -> Served:
    return serve("--model-root", str(root), "--engine-module", ECHO, "--max-resident-models", "4")


# --- bad input --------------------------------------------------------------------------------

NAN = b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}'
WRONG_BODIES: dict[str, tuple[bytes, str | None]] = {
    "not JSON": (b"{", None),
    "a list": (b"[]", None),
    "a number": (b"5", None),
    "invalid UTF-8": (b'{"model": "\xff\xfe"}', None),
    "NaN": (NAN, None),
    "100,000 brackets": (b"[" * 100_000, None),
    "100,000 objects": (b'{"a":' * 100_000, None),
}
WRONG_FIELDS: dict[str, Any] = {
    "model": 5,
    "messages": [],
    "messages[0]": {"messages": [5]},
    "messages[0].role": {"messages": [{"role": "king", "content": "x"}]},
    "messages[0].content": {"messages": [{"role": "user", "content": 5}]},
    "messages[0].content[0].text": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]
    },
    "messages[0].content[0].type": {
        "messages": [{"role": "user", "content": [{"type": "smell", "text": "x"}]}]
    },
    "max_tokens": 0,
    "temperature": 3,
    "top_p": "high",
    "stream": "yes",
    "stop": ["a", "b", "c", "d", "e"],
    "n": 17,
    "logit_bias": {"a": 1},
    "logprobs": 5,
    "top_logprobs": 3,
    "tools[0].function.name": {"tools": [{"type": "function", "function": {"name": "f g"}}]},
    "response_format.type": {"response_format": {"type": "xml"}},
    "guided_choice": [],
    "queue": 5,
    "swarm": 5,
    "seed": 2**64,
}


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_a_body_that_cannot_be_read_is_a_400(server: Served, body: str) -> None:
    content, _ = WRONG_BODIES[body]

    answer = server.client.post(
        server.url + "/v1/chat/completions",
        content=content,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("param", WRONG_FIELDS)
def test_a_wrong_field_is_a_400_that_names_it_and_no_model_is_loaded(
    server: Served, param: str
) -> None:
    wrong = WRONG_FIELDS[param]
    fields = wrong if "[" in param or "." in param else {param: wrong}

    answer = server.chat(**{"model": "failing", **fields})

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_text_that_is_a_number_does_not_cost_the_model(server: Served) -> None:
    """The predecessor lost the slot, and with it the model, for good."""
    parts = [{"role": "user", "content": [{"type": "text", "text": 5}]}]

    for _ in range(10):
        assert server.chat(model="quick", messages=parts).status_code == 400

    assert server.chat(model="quick", max_tokens=3).status_code == 200
    assert server.running() == 0


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nX-Evil: 1",
        "a\x00b",
        "模型",
        "é" * 500,
        "x" * 4000,
        "*",
        ",,,",
        "role:",
        "a\u2028b",
        "😀",
    ],
)
def test_strange_names_are_answered_and_cannot_break_a_header(server: Served, name: str) -> None:
    answer = server.chat(model=name, max_tokens=2)

    assert answer.status_code in (200, 404)
    assert "x-evil" not in answer.headers
    if answer.status_code == 200:
        assert answer.headers["x-model-resolution"].isascii()


def test_a_name_of_10000_characters_is_a_400(server: Served) -> None:
    answer = server.chat(model="x" * 10_000)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_11_mb_is_a_413(server: Served, chunked: bool) -> None:
    content = b'{"messages": "' + b"x" * (11 * 1024 * 1024) + b'"}'

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    headers = {"Content-Type": "application/json"}
    with httpx2.Client(trust_env=False) as client:
        try:
            answer = client.post(
                server.url + "/v1/chat/completions",
                content=pieces() if chunked else content,
                headers=headers,
            )
        except (httpx2.WriteError, httpx2.ReadError):
            pytest.fail("the connection was cut before the answer could be read")

    assert answer.status_code == 413
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/v1/models", 405), ("GET", "/v1/chat/completions", 405)],
)
def test_plain_errors_have_the_same_shape(
    server: Served, method: str, path: str, status: int
) -> None:
    answer = server.client.request(method, server.url + path, json={} if method == "PUT" else None)

    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]


def test_a_body_that_is_no_json_by_its_type_is_a_415(server: Served) -> None:
    answer = server.client.post(
        server.url + "/v1/chat/completions",
        content=b"{}",
        headers={"Content-Type": "text/plain"},
    )

    assert answer.status_code == 415


# --- models that cannot -----------------------------------------------------------------------


def test_broken_models_are_listed_with_their_reason_and_never_asked(server: Served) -> None:
    unusable = {one["id"]: one["reason"] for one in server.get("/v1/models?unusable")["unusable"]}

    assert set(unusable) == {"truncated", "untokenised", "unknown"}
    assert "tokenizer" in unusable["untokenised"]
    assert "marvin" in unusable["unknown"]


def test_a_load_that_fails_is_a_503_that_says_why_and_when_to_come_back(server: Served) -> None:
    answer = server.chat(model="failing")
    again = server.chat(model="failing")

    assert answer.status_code == 503
    assert "no memory left" in answer.json()["error"]["message"]
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert again.status_code == 503
    assert server.chat(model="failing,quick", max_tokens=2).json()["model"] == "quick"


def test_one_poison_request_among_eight_is_found_and_the_others_are_answered(
    server: Served,
) -> None:
    server.chat(model="poisoned", max_tokens=1)
    bodies = [f"request {number}" for number in range(7)] + ["this is poison"]

    def ask(text: str) -> httpx2.Response:
        messages = [{"role": "user", "content": text}]
        return server.chat(
            model="poisoned", messages=messages, max_tokens=3, queue={"max_queue_wait_ms": 60_000}
        )

    with ThreadPoolExecutor(8) as pool:
        *answers, poison = pool.map(ask, bodies)

    assert [answer.status_code for answer in answers] == [200] * 7
    assert poison.status_code == 400
    assert poison.json()["error"]["code"] == "request_crashes_engine"
    assert server.chat(model="poisoned", max_tokens=3).status_code == 200


def test_a_server_of_one_model_answers_to_any_name(
    serve: Callable[..., Served], root: Path
) -> None:
    server = serve("--model", str(root / "quick"), "--engine-module", ECHO)

    answer = server.chat(model="gpt-5-turbo-max", max_tokens=2)

    assert answer.json()["model"] == "mlx"
    assert answer.headers["x-model-routed-to"] == "mlx-grab/mlx"
    assert server.client.delete(server.url + "/v1/models/mlx").status_code == 400
    assert server.get("/healthz")["mode"] == "grab"


def test_a_load_right_after_the_start_waits_for_the_first_look_at_the_folder(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    for number in range(300):  # so that it takes a while
        write_echo_model(tmp_path / f"model-{number}")
    server = serve("--model-root", str(tmp_path), "--engine-module", ECHO)

    answer = server.client.post(server.url + "/v1/models/model-7/load")

    assert answer.json() == {"ok": True, "model": "model-7", "resident": ["model-7"]}


def test_models_are_preloaded_pinned_and_found_by_a_rescan(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    write_echo_model(tmp_path / "first")
    server = serve(
        *("--model-root", str(tmp_path), "--engine-module", ECHO),
        *("--preload", "fir", "--pinned-models", "first", "--max-resident-models", "1"),
    )
    eventually(lambda: server.get("/healthz")["mlx_loaded"] == ["first"])
    write_echo_model(tmp_path / "second")
    assert server.chat(model="second").headers["x-model-resolution"].startswith("fallback")

    rescan = server.client.post(server.url + "/dashboard/api/admin/rescan", json={}).json()
    refused = server.chat(model="second")

    assert rescan["diff"] == {"added": ["second"], "removed": [], "unchanged": ["first"]}
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "model_does_not_fit"
    server.client.post(server.url + "/v1/models/first/unpin", json={})
    answer = server.chat(model="second", max_tokens=2)
    assert answer.json().get("model") == "second", answer.text


def test_an_image_at_a_model_without_eyes_is_a_400_that_names_the_part(server: Served) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]}]

    answer = server.chat(model="quick", messages=messages)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[1]"


# --- overload ---------------------------------------------------------------------------------


def test_a_full_queue_says_429_with_a_prediction(serve: Callable[..., Served], root: Path) -> None:
    server = serve(
        *("--model-root", str(root), "--engine-module", ECHO),
        *("--max-streams-per-model", "1", "--queue-max-per-model", "2"),
    )
    server.chat(model="slow", max_tokens=1)
    patient = {"max_queue_wait_ms": 120_000}
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(server.chat, model="slow", max_tokens=30, queue=patient)
        eventually(lambda: server.get("/v1/queue")["waiting_total"] == 2)

        refused = server.chat(model="slow", max_tokens=30, queue=patient)
        impatient = server.chat(model="slow", max_tokens=30, queue={"max_queue_wait_ms": 0})

    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-mlx-queue-depth"] == "2"
    body = refused.json()
    assert body["error"]["code"] == "queue_overloaded_model"
    assert body["queue"]["queued_for_model"] == 2
    assert impatient.status_code == 429


@pytest.mark.parametrize("stage", ["loading", "queued", "decoding"])
def test_a_client_that_leaves_frees_everything(
    serve: Callable[..., Served], root: Path, stage: str
) -> None:
    server = serve(
        *("--model-root", str(root), "--engine-module", ECHO, "--max-streams-per-model", "1")
    )
    held: list[socket.socket] = []
    if stage != "loading":
        server.chat(model="slow", max_tokens=1)
        held.append(ask_slowly(server, max_tokens=2000))
        eventually(lambda: server.running() == 1)
    if stage != "decoding":
        held.append(ask_slowly(server, max_tokens=2000))
        eventually(lambda: server.get("/v1/queue")["waiting_total"] == 1)

    held.pop().close()

    waiting = eventually(lambda: server.get("/v1/queue")["waiting_total"] == 0)
    assert waiting < 1
    if stage == "queued":
        held.pop().close()
    assert eventually(lambda: server.running() == 0) < 1
    assert server.chat(model="slow", max_tokens=2).status_code == 200


def test_a_stream_that_waits_says_what_for(serve: Callable[..., Served], root: Path) -> None:
    server = serve(*("--model-root", str(root), "--engine-module", ECHO, "--keepalive-s", "0.1"))
    body = {"model": "slow", "messages": HELLO, "max_tokens": 3, "stream": True}

    with server.client.stream("POST", server.url + "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line]

    assert answer.status_code == 200
    assert lines[0].startswith(": queued 1, ~")
    assert lines[-1] == "data: [DONE]"
    assert any('"role":"assistant"' in line for line in lines)


# --- the end ----------------------------------------------------------------------------------


def test_a_stop_ends_what_does_not_fit_with_an_error_and_says_so_in_its_exit_code(
    serve: Callable[..., Served], root: Path
) -> None:
    server = serve(
        *("--model-root", str(root), "--engine-module", ECHO),
        *("--shutdown-grace-s", "4", "--max-streams-per-model", "1"),
    )
    server.chat(model="slow", max_tokens=1)
    pid = server.engine_pid()
    lines: list[str] = []

    def read() -> None:
        body = {"model": "slow", "messages": HELLO, "max_tokens": 4000, "stream": True}
        with server.client.stream("POST", server.url + "/v1/chat/completions", json=body) as one:
            lines.extend(line for line in one.iter_lines() if line.startswith("data: "))

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: server.running() == 1)
    with ThreadPoolExecutor(1) as pool:
        patient = {"max_queue_wait_ms": 600_000}
        queued = pool.submit(server.chat, model="slow", max_tokens=2, queue=patient)
        eventually(lambda: server.get("/v1/queue")["waiting_total"] == 1)

        code = server.stop()
        reader.join(10)

        assert queued.result().status_code == 503
        assert queued.result().json()["error"]["code"] == "server_shutting_down"
    assert code == 3
    assert '"code":"server_shutting_down"' in lines[-2]
    assert lines[-1] == "data: [DONE]"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_second_signal_ends_the_grace(serve: Callable[..., Served], root: Path) -> None:
    server = serve("--model-root", str(root), "--engine-module", ECHO)
    connection = ask_slowly(server, max_tokens=5000)
    time.sleep(1)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    start = time.monotonic()

    assert server.stop(signal.SIGINT) == 3
    assert time.monotonic() - start < 5
    connection.close()


def test_engines_do_not_outlive_a_gateway_that_is_killed(
    serve: Callable[..., Served], root: Path
) -> None:
    server = serve("--model-root", str(root), "--engine-module", ECHO)
    server.chat(model="quick", max_tokens=1)
    pid = server.engine_pid()

    server.stop(signal.SIGKILL)

    assert eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists(), 5) < 2


def test_a_port_in_use_is_one_clear_line(serve: Callable[..., Served], server: Served) -> None:
    port = server.url.rpartition(":")[2]

    with pytest.raises(AssertionError, match="in use"):
        serve("--port", port, "--engine-module", ECHO)


def ask_slowly(server: Served, **fields: object) -> socket.socket:
    """Ask the slow model, patiently, and do not read the answer."""
    queue = {"max_queue_wait_ms": 600_000}
    return ask_by_hand(server.url, model="slow", messages=HELLO, queue=queue, **fields)
