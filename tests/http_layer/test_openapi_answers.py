"""Each request of the reference, sent to the app: real answers are what it says, and no more.

The engine is a fake that says a little of everything: reasoning, text, calls, log-probabilities.
"""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lattice_actors.catalog.entry import Kind, ModelEntry
from lattice_actors.engine.news import EngineNews, StreamEnded
from lattice_actors.engine.process import EngineProcess
from lattice_actors.generation import (
    CallPiece,
    Delta,
    Embed,
    Finish,
    FinishReason,
    TokenLogprob,
    Usage,
)
from lattice_actors.settings import Settings
from lattice_http.app import make_app
from lattice_http.cli import parts
from lattice_http.gateway import Gateway
from tests.actors.house import LOAD_S, FakeEngine, FakePlan, open_house
from tests.http_layer.openapi_schemas import complaints, events, operations, resolved, strict
from tests.http_layer.test_answers_over_asgi import HELLO, Answered, Client
from tests.http_layer.test_openapi import WHOLE

CLOSED = strict(WHOLE)  # what is not described is not sent
TOOL = "now"
CALL = (CallPiece(0, "call_1", TOOL, ""), CallPiece(0, "", "", "{}"))
LOGPROBS = (TokenLogprob(b"x", -0.5, ((b"x", -0.5), (b"y", -1.5))),)


@attrs.define(eq=False)
class SayingEngine(FakeEngine):
    """Thinks, says a word, and calls a tool where it is told of one."""

    def _advance(self, rid: int) -> None:
        job, done = self._jobs[rid]
        stream = self.streams[rid]
        if isinstance(job.prompt, Embed):
            stream.push_vectors(struct.pack("<3f", 0.1, 0.2, 0.3) * len(job.prompt.inputs))
            self._ended(rid, FinishReason.STOP)
        elif job.count:
            self._ended(rid, FinishReason.STOP, (7, 8, 9))
        elif done == 0 and rid not in self._cancelled:
            stream.push(Delta("", reasoning="hm"))
            stream.push(Delta("x", logprobs=LOGPROBS if job.logprobs is not None else ()))
            for piece in CALL if getattr(job.prompt, "tools", ()) else ():
                stream.push(Delta("", calls=(piece,)))
            FakeEngine._advance(self, rid)
        else:
            FakeEngine._advance(self, rid)

    def _ended(self, rid: int, reason: FinishReason, ids: tuple[int, ...] = ()) -> None:
        del self._jobs[rid]
        self.streams.pop(rid).finish(Finish(reason, Usage(3, 1), prompt_ids=ids))
        self.tell(StreamEnded(rid))


@attrs.frozen
class SayingPlan(FakePlan):
    """Engines that say something."""

    def engine(self, entry: ModelEntry, tell: Callable[[EngineNews], None]) -> EngineProcess:
        made = FakePlan.engine(self, entry, tell)
        assert isinstance(made, FakeEngine)
        saying = SayingEngine(made.name, made.module, made.load, {}, tell, 60.0, made.journal)
        self.engines[entry.id] = saying
        return saying


@asynccontextmanager
async def open_site(kind: Kind = Kind.CHAT) -> AsyncIterator[Client]:
    settings = Settings()
    async with open_house(plan=SayingPlan(), kind=kind, shown=parts.shown(settings)) as house:
        gateway, policy = Gateway(house.lattice, settings), parts.security(settings)
        desk = parts.dashboard(house.lattice, settings, policy, trio.Event())
        yield Client(make_app(gateway, policy, desk), house, gateway)


def described(method: str, path: str, answered: Answered) -> None:
    """Assert that an answer is what the reference says."""
    told = CLOSED["paths"][path][method]["responses"]
    assert str(answered.status) in told, (answered.status, answered.pieces)
    response = resolved(CLOSED, told[str(answered.status)])
    for name in answered.headers:
        lattice = name.lower().startswith(("x-lattice", "x-swarm", "x-mlx", "x-model", "retry-"))
        assert not lattice or name.lower() in map(str.lower, response["headers"]), name
    media = answered.headers.get("content-type", "").partition(";")[0]
    if not answered.pieces or answered.status == 302:  # whose page says what the header does
        assert "content" not in response
    elif media == "text/event-stream":
        schemas = response["content"][media]["x-events"]
        told_events = list(events(b"".join(piece for _, piece in answered.pieces).decode()))
        assert told_events
        for name, event in told_events:
            assert complaints(CLOSED, schemas[name], event) == [], name
    elif media == "application/json":
        schema = response["content"][media]["schema"]
        assert complaints(CLOSED, schema, answered.body) == []
    else:
        assert media in response["content"] or "*/*" in response["content"]


def requests() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, name and body of each example of a request."""
    for _, path, operation in operations(WHOLE):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name, example in content["examples"].items():
                yield path, name, example["value"]


ASKED = [pytest.param(path, body, id=f"{path} {name}") for path, name, body in requests()]


@pytest.mark.parametrize(("path", "body"), ASKED)
async def test_an_example_is_answered_as_described(
    autojump_clock: MockClock, path: str, body: dict[str, Any]
) -> None:
    if path == "/dashboard/api/models/load":
        body = {"model": "a"}  # the one that is here
    kind = Kind.EMBEDDING if path == "/v1/embeddings" else Kind.CHAT
    async with open_site(kind) as client:
        answered = await client.send("POST", path, body)

    assert answered.status == 200
    described("post", path, answered)


async def test_more_answers_than_the_examples_ask_for_are_as_described(
    autojump_clock: MockClock,
) -> None:
    chat: dict[str, Any] = {"model": "auto", "messages": HELLO, "max_tokens": 2}
    tools = [{"type": "function", "function": {"name": TOOL}}]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {**chat, "logprobs": True, "top_logprobs": 2}),
        ("/v1/chat/completions", {**chat, "logprobs": True, "stream": True}),
        ("/v1/chat/completions", {**chat, "tools": tools, "stream": True, "n": 2}),
        (
            "/v1/chat/completions",
            {**chat, "model": "swarmCouncil", "stream": True, "swarm": {"events": True}},
        ),
        ("/v1/completions", {"prompt": "x", "max_tokens": 2, "logprobs": 1}),
        ("/v1/completions", {"prompt": "x", "max_tokens": 2, "logprobs": 1, "stream": True}),
        ("/v1/messages", {**chat, "stream": True, "tools": [{"name": TOOL}]}),
        ("/v1/responses", {"input": "x", "stream": True, "reasoning": {"summary": "auto"}}),
        (
            "/v1/responses",
            {"input": "x", "stream": True, "tools": [{"type": "function", "name": TOOL}]},
        ),
        (
            "/v1/responses",
            {"input": "x", "stream": True, "tools": [{"type": "custom", "name": TOOL}]},
        ),
        ("/swarm/fanout", {"models": ["a", "nemo"], "messages": HELLO, "max_tokens": 2}),
        ("/swarm/fanout", {"models": ["a"], "messages": HELLO, "stream": True, "max_tokens": 2}),
        (
            "/swarm/pipeline",
            {"steps": [{}, {}], "messages": HELLO, "stream": True, "max_tokens": 2},
        ),
        (
            "/swarm/debate",
            {"models": ["a", "b"], "messages": HELLO, "stream": True, "max_tokens": 2},
        ),
        ("/swarm/vote", {"models": ["nemo"], "messages": HELLO}),
        ("/swarm/pipeline", {"steps": [{"model": "nemo"}], "messages": HELLO}),
        ("/v1/plan", {"model": "a", "messages": [IMAGE]}),
    ]
    async with open_site() as client:
        for path, body in asked:
            answered = await client.send("POST", path, {"max_output_tokens": 2, **body})
            assert answered.status in (200, 502), answered.body
            described("post", path, answered)


IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}


async def test_what_is_looked_at_is_as_described(autojump_clock: MockClock) -> None:
    async with open_site() as client, trio.open_nursery() as nursery:
        chat: dict[str, Any] = {"model": "a", "messages": HELLO, "max_tokens": 9}
        await client.send("POST", "/v1/chat/completions", chat)
        await client.send("POST", "/v1/chat/completions", {"messages": []})  # refused: an error
        vote = {"models": ["a", "b"], "judge": "a", "messages": HELLO, "max_tokens": 2}
        await client.send("POST", "/swarm/vote", vote)
        nursery.start_soon(client.send, "POST", "/v1/chat/completions", {**chat, "model": "c"})
        nursery.start_soon(client.send, "POST", "/swarm/vote", {**vote, "max_tokens": 99})
        await trio.sleep(1)
        queue = (await client.send("GET", "/v1/queue")).body
        looked = [
            path
            for method, path, _ in operations(WHOLE)
            if method == "get" and "{" not in path and path != "/dashboard/ws"
        ]
        looked.sort(key="/openapi.json".__eq__)  # made in a thread, while this clock jumps on
        for path in looked:
            answered = await client.send("GET", path, leave_after_s=math.inf)
            described("get", path, answered)
        for path, named in {
            "/v1/models/{model}": "/v1/models/a",
            "/dashboard/{name}": "/dashboard/app.js",
        }.items():
            described("get", path, await client.send("GET", named))
        listed = await client.send("GET", "/v1/models", query="unusable&meta")
        described("get", "/v1/models", listed)
        nursery.cancel_scope.cancel()

    assert "/v1/state" in looked
    assert queue["waiting"]  # so what is said of waiting requests was looked at, too
    assert len(listed.body["data"]) == 5


async def test_what_is_steered_is_answered_as_described(autojump_clock: MockClock) -> None:
    async with open_site() as client, trio.open_nursery() as nursery:

        async def steer(method: str, path: str, named: str, status: int) -> None:
            # What is done in a thread takes real time, in which this clock jumps on.
            answered = await client.send(method.upper(), named, leave_after_s=math.inf)
            assert answered.status == status, (method, named, answered)
            described(method, path, answered)

        for verb in ("load", "pin", "unpin", "drain"):
            await steer("post", f"/v1/models/{{model}}/{verb}", f"/v1/models/a/{verb}", 200)
        await client.send("POST", "/v1/models/a/load")
        await steer("post", "/v1/models/{model}/unload", "/v1/models/a/unload", 200)
        await steer("delete", "/v1/models/{model}", "/v1/models/a", 404)
        await client.send("POST", "/v1/models/a/load")
        await steer("delete", "/v1/models/{model}", "/v1/models/a", 200)
        await steer("post", "/dashboard/api/admin/rescan", "/dashboard/api/admin/rescan", 200)

        running: Any = {"model": "b", "messages": HELLO, "max_tokens": 999}
        more = {"x-request-id": "mine"}

        async def ask() -> None:
            await client.send("POST", "/v1/chat/completions", running, more=more)

        nursery.start_soon(ask)
        await trio.sleep(LOAD_S + 3)
        for verb in ("unload", "drain"):
            await steer("post", f"/v1/models/{{model}}/{verb}", f"/v1/models/b/{verb}", 202)
        await steer("delete", "/v1/models/{model}", "/v1/models/b", 202)
        await steer("delete", "/v1/requests/{request_id}", "/v1/requests/mine", 200)
        await steer("delete", "/v1/requests/{request_id}", "/v1/requests/nobody", 404)
        nursery.cancel_scope.cancel()


async def test_what_is_kept_is_told_as_described(autojump_clock: MockClock) -> None:
    async with open_site() as client:
        asked = {"model": "a", "input": "hello", "max_output_tokens": 2}
        made = (await client.send("POST", "/v1/responses", asked)).body["id"]
        path = "/v1/responses/{response_id}"
        for method, named, status in (
            ("get", made, 200),
            ("get", f"{made}/input_items", 200),
            ("delete", made, 200),
            ("delete", made, 404),
            ("get", made, 404),
        ):
            answered = await client.send(method.upper(), f"/v1/responses/{named}")
            assert answered.status == status
            template = path + "/input_items" if named.endswith("items") else path
            described(method, template, answered)


async def test_a_branch_is_stopped_as_described(autojump_clock: MockClock) -> None:
    body: dict[str, Any] = {"models": ["a", "b"], "messages": HELLO, "max_tokens": 50}
    answers: list[Answered] = []
    async with open_site() as client, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append(await client.send("POST", "/swarm/fanout", body))

        nursery.start_soon(ask)
        await trio.sleep(LOAD_S + 3)
        [session] = (await client.send("GET", "/v1/state")).body["swarms"]
        stopped = await client.send("DELETE", f"/swarm/sessions/{session}/branches/1")

    assert stopped.status == 200
    described("delete", "/swarm/sessions/{session}/branches/{branch}", stopped)
    described("post", "/swarm/fanout", answers[0])
    assert answers[0].body["responses"][1]["error_kind"] == "cancelled"


POSTED = sorted({path for path, _, _ in requests()})


@pytest.mark.parametrize("path", POSTED)
async def test_refusals_are_as_described(autojump_clock: MockClock, path: str) -> None:
    nobody = {"model": 5, "models": 5, "input": 5, "alias": 5, "default_model": 5}
    bodies: list[Any] = [nobody, [], None]
    async with open_site() as client:
        for body in bodies:
            answered = await client.send("POST", path, body)
            assert answered.status == 400 or path.startswith("/dashboard/api/pref")
            described("post", path, answered)


async def test_a_refusal_by_the_queue_is_as_described(autojump_clock: MockClock) -> None:
    body: Any = {"model": "a", "messages": HELLO, "max_tokens": 9}
    more = {"X-MLX-Max-Queue-Wait-Ms": "0"}
    async with open_site() as client:
        for path in ("/v1/chat/completions", "/v1/messages"):
            answered = await client.send("POST", path, body, more=more)
            assert answered.status == 429
            described("post", path, answered)
