"""The app on the mock clock: real actors, a fake engine, and a client that may leave.

One token a second, five seconds for a load. The garbage collector is off, so that only structure
can give back what a request held.
"""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.verdicts import Limits
from lattice_actors.settings import Settings
from lattice_http.app import make_app
from lattice_http.asgi import ASGIApp, Message
from lattice_http.gateway import Gateway
from lattice_http.security import SecurityPolicy
from tests.actors.house import LOAD_S, House, open_house

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@attrs.define
class Answered:
    """What came back, and when (Trio seconds)."""

    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    pieces: list[tuple[float, bytes]] = attrs.field(factory=list)
    started_at: float = 0.0
    log: dict[str, Any] = attrs.field(factory=dict)  # what its line says

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(b"".join(piece for _, piece in self.pieces))

    @property
    def frames(self) -> list[str]:
        text = b"".join(piece for _, piece in self.pieces).decode()
        return [frame for frame in text.split("\n\n") if frame]

    @property
    def chunks(self) -> list[Any]:
        return [
            json.loads(frame[6:])
            for frame in self.frames
            if frame.startswith("data: ") and frame != "data: [DONE]"
        ]


@attrs.define
class Client:
    app: ASGIApp
    house: House
    gateway: Gateway

    async def chat(self, *, leave_after_s: float = 1e9, **fields: object) -> Answered:
        """Ask; a client that leaves sends a disconnect after so long."""
        body = {"model": "a", "messages": HELLO, **fields}
        return await self.send("POST", "/v1/chat/completions", body, leave_after_s=leave_after_s)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        leave_after_s: float = 1e9,
        query: str = "",
        more: dict[str, str] | None = None,
    ) -> Answered:
        """Send any request; *more* are headers."""
        content = b"" if body is None else json.dumps(body).encode()
        answered, sent = Answered(), False
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        headers += [(name.lower().encode(), text.encode()) for name, text in (more or {}).items()]
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [*headers, (b"content-length", str(len(content)).encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": content, "more_body": False}
            await trio.sleep(leave_after_s)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.started_at = trio.current_time()
                answered.headers = {n.decode(): v.decode() for n, v in message["headers"]}
            elif message.get("body"):
                answered.pieces.append((trio.current_time(), message["body"]))

        await self.app(scope, receive, send)
        answered.log = scope["state"]["log"]
        return answered


@asynccontextmanager
async def open_client(limits: Limits | None = None, **settings: Any) -> AsyncIterator[Client]:  # noqa: ANN401
    async with open_house(limits=limits) as house:
        gateway = Gateway(house.lattice, Settings(**settings))
        yield Client(make_app(gateway, SecurityPolicy()), house, gateway)


async def test_the_headers_of_a_stream_wait_for_its_first_token(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        start = trio.current_time()
        answered = await client.chat(stream=True, max_tokens=3)

        assert answered.status == 200
        assert answered.started_at - start == LOAD_S + 1
        assert answered.headers["x-lattice-queue-ms"] == str(int(LOAD_S * 1000))
        assert answered.headers["x-lattice-load-ms"] == str(int(LOAD_S * 1000))
        assert answered.headers["x-lattice-ttft-ms"] == str(int((LOAD_S + 1) * 1000))
        texts = [chunk["choices"][0]["delta"].get("content") for chunk in answered.chunks]
        assert texts == ["x", "x", "x", None]
        assert answered.frames[-1] == "data: [DONE]"


async def test_a_refusal_is_a_real_status_also_for_a_stream(autojump_clock: MockClock) -> None:
    limits = Limits(queue_max_per_model=1, ageing_s=100)
    async with open_client(limits) as client, trio.open_nursery() as nursery:
        await client.chat(max_tokens=1)
        for _ in range(9):
            nursery.start_soon(lambda: client.chat(max_tokens=300, queue=PATIENT))
        await trio.sleep(5)

        answered = await client.chat(stream=True, queue=PATIENT)

        assert answered.status == 429
        assert answered.body["error"]["code"] == "queue_overloaded_model"
        assert int(answered.headers["retry-after"]) > 1
        nursery.cancel_scope.cancel()


PATIENT = {"max_queue_wait_ms": 10_000_000}


async def test_a_long_wait_opens_the_stream_and_says_what_for(autojump_clock: MockClock) -> None:
    limits = Limits(ageing_s=100)
    async with open_client(limits, keepalive_s=10.0) as client, trio.open_nursery() as nursery:
        await client.chat(max_tokens=1)
        for _ in range(8):
            nursery.start_soon(lambda: client.chat(max_tokens=35))
        await trio.sleep(1)

        answered = await client.chat(stream=True, max_tokens=2, queue=PATIENT)

        comments = [frame for frame in answered.frames if frame.startswith(": queued 1, ~")]
        assert len(comments) == 3
        assert answered.chunks[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_a_failure_after_the_stream_opened_is_its_last_chunk(
    autojump_clock: MockClock,
) -> None:
    async with open_client(keepalive_s=2.0) as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def ask() -> None:
            answers.append(await client.chat(stream=True, max_tokens=50))

        nursery.start_soon(ask)
        await trio.sleep(12)
        client.house.plan.engines["a"].crash()
        await trio.sleep(30)

        (answered,) = answers
        assert answered.status == 200
        last = answered.chunks[-1]
        assert last["choices"] == [
            {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "error"}
        ]
        assert last["error"]["code"] == "model_crashed"
        assert answered.frames[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after_s", [0.0, 1.0, LOAD_S - 0.5, LOAD_S, LOAD_S + 0.5, LOAD_S + 3])
async def test_a_client_that_leaves_gives_everything_back(
    autojump_clock: MockClock, stream: bool, after_s: float
) -> None:
    """At once, while loading, at the instant of the grant, in prefill, in decode."""
    async with open_client() as client:
        await client.chat(stream=stream, max_tokens=500, leave_after_s=after_s)
        await trio.sleep(LOAD_S + 2)  # one engine step after the load, at the most

        view = await client.house.lattice.admission.view()
        assert view.waiting == ()
        assert sum((await client.house.running()).values()) == 0
        assert client.gateway.working == 0


async def test_a_deadline_ends_an_answer_in_time(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        await client.chat(max_tokens=1)
        start = trio.current_time()

        answered = await client.chat(max_tokens=500, queue={"deadline_ms": 4500})

        assert trio.current_time() - start == 4.5
        assert answered.body["choices"][0]["message"]["content"] == "xxxx"
        assert answered.body["choices"][0]["finish_reason"] == "length"
        assert answered.headers["x-lattice-cut"] == "timeout"


async def test_a_deadline_that_cannot_be_met_is_refused_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_client(Limits(ageing_s=100)) as client, trio.open_nursery() as nursery:
        await client.chat(max_tokens=1)
        for _ in range(8):
            nursery.start_soon(lambda: client.chat(max_tokens=300))
        await trio.sleep(1)
        start = trio.current_time()

        answered = await client.chat(queue={"deadline_ms": 3000, **PATIENT})

        assert (answered.status, trio.current_time()) == (429, start)
        assert answered.body["error"]["code"] == "deadline_exceeded"
        nursery.cancel_scope.cancel()


async def test_an_answer_ends_at_the_generation_timeout(autojump_clock: MockClock) -> None:
    async with open_client(generation_timeout_s=10.5) as client:
        answered = await client.chat(stream=True, max_tokens=500)

        assert answered.chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert len(answered.chunks) == 10 + 1  # the tenth token is due at the instant of the cut


async def test_an_operator_ends_a_request_by_its_id(autojump_clock: MockClock) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def ask() -> None:
            answers.append(await client.chat(max_tokens=500))

        nursery.start_soon(ask)
        await trio.sleep(10)
        (answering,) = client.gateway._working
        assert client.gateway.cancel(answering.request_id)
        await trio.sleep(2)

        assert answers[0].status == 400  # SDKs send anything from 500 up again by themselves
        assert answers[0].body["error"]["code"] == "request_cancelled"
        assert await client.house.running() == {"a": 0}


async def test_a_broken_model_is_replaced_by_the_next_the_caller_named(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        await client.chat(max_tokens=1)
        for _ in range(4):
            client.house.plan.engines["a"].crash()
            await trio.sleep(12)

        named = await client.chat(model="a,b", max_tokens=1)
        only = await client.chat(model="a", max_tokens=1)

        assert named.body["model"] == "b"
        assert "unavailable" in named.headers["x-model-resolution"]
        assert only.status == 503
        assert int(only.headers["retry-after"]) > 1
