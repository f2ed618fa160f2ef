"""The socket of a real server: who may follow, what they are sent, and how it ends."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)

from lattice_actors.metrics.patches import apply
from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served, eventually, start

KEY = "correct-horse-battery"
CLIENTS = 100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_echo_model(tmp_path_factory.mktemp("models") / "echo", step_ms=5)


def serve(model: Path, *args: str, **environ: str) -> Served:
    served = start(
        "--model-root",
        str(model.parent),
        *args,
        LATTICE_ENGINE_MODULE="lattice_actors.engine.echo",
        LATTICE_API_KEY=KEY,
        **environ,
    )
    served.wait_until_listening()
    served.client.headers["Authorization"] = f"Bearer {KEY}"
    return served


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Served]:
    served = serve(model, "--dashboard-clients", str(CLIENTS))
    yield served
    served.end()


@asynccontextmanager
async def follow(
    server: Served,
    *,
    key: str | None = KEY,
    path: str = "/dashboard/ws",
    headers: Sequence[tuple[bytes, bytes]] = (),
    subprotocols: Sequence[str] = (),
) -> AsyncIterator[WebSocketConnection]:
    host, port = server.url.removeprefix("http://").split(":")
    known = [(b"Authorization", b"Bearer " + key.encode())] if key else []
    # The stream is ours: trio-websocket leaves one open that the server has closed.
    async with await trio.open_tcp_stream(host, int(port)) as stream, raw_nursery() as nursery:
        yield await wrap_client_stream(
            nursery,
            stream,
            f"{host}:{port}",
            path,
            subprotocols=subprotocols,
            extra_headers=[*known, *headers],
            max_message_size=1 << 26,
        )


@asynccontextmanager
async def raw_nursery() -> AsyncIterator[trio.Nursery]:
    """Raise what the body raises, not a group of it."""
    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # noqa: BLE001 - raised below
            problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem


def status(server: Served, path: str, **headers: str) -> int:
    """Ask for a socket; return the status of the refusal."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return server.client.get(server.url + path, headers=upgrade | headers).status_code


async def message(socket: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(20):
        heard: dict[str, Any] = json.loads(await socket.get_message())
    return heard


async def _until_closed(socket: WebSocketConnection) -> None:
    while True:
        await socket.get_message()


async def closed(socket: WebSocketConnection) -> int:
    with trio.fail_after(20), pytest.raises(ConnectionClosed) as over:
        await _until_closed(socket)
    assert over.value.reason is not None
    return int(over.value.reason.code)


async def test_snapshot_and_deltas_are_the_state(server: Served) -> None:
    states: dict[int, Any] = {}
    news = trio.Event()
    async with follow(server) as socket, trio.open_nursery() as nursery:
        snapshot = await message(socket)
        document = states[snapshot["seq"]] = snapshot["state"]

        async def listen() -> None:
            nonlocal document, news
            while True:
                heard = await message(socket)
                news.set()
                news = trio.Event()
                if heard["type"] == "delta":
                    assert heard["base"] == document["seq"]
                    document = states[heard["seq"]] = apply(document, heard["patch"])

        nursery.start_soon(listen)
        chat = partial(server.chat, model="echo", max_tokens=60)
        async with trio.open_nursery() as asking:
            for _ in range(3):
                asking.start_soon(trio.to_thread.run_sync, chat)
        compared = 0
        while compared < 3:
            state = await trio.to_thread.run_sync(server.get, "/v1/state")
            with trio.fail_after(10):
                while document["seq"] < state["seq"]:
                    await news.wait()
            assert states[state["seq"]] == state
            compared += 1
        nursery.cancel_scope.cancel()
    done = [one for one in document["requests"].values() if one.get("model") == "echo"]
    assert [one["tokens"] for one in done] == [60, 60, 60]
    assert document["totals"]["tokens"] == 180


async def test_the_key_comes_in_the_first_message(server: Served) -> None:
    async with follow(server, key=None) as socket:
        await socket.send_message(json.dumps({"type": "key", "key": KEY}))

        assert (await message(socket))["type"] == "snapshot"


async def test_the_key_comes_as_a_subprotocol_that_is_not_repeated(server: Served) -> None:
    carried = "lattice.key." + base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    async with follow(server, key=None, subprotocols=["lattice.v1", carried]) as socket:
        assert socket.subprotocol == "lattice.v1"
        assert (await message(socket))["type"] == "snapshot"


@pytest.mark.parametrize(
    "first", ['{"type":"key","key":"wrong"}', "no json", '{"key":5}', '{"type":"key","key":""}']
)
async def test_a_wrong_key_is_told_by_the_code(server: Served, first: str) -> None:
    async with follow(server, key=None) as socket:
        await socket.send_message(first)

        assert await closed(socket) == 4401


@pytest.mark.parametrize("text", ["d3Jvbmc", "%%%", ""])
async def test_a_wrong_subprotocol_key_is_told_by_the_code(server: Served, text: str) -> None:
    async with follow(server, key=None, subprotocols=["lattice.key." + text]) as socket:
        assert await closed(socket) == 4401


async def test_a_page_of_another_origin_is_refused(server: Served) -> None:
    assert status(server, "/dashboard/ws", Origin="https://elsewhere.example") == 403

    own = [(b"Origin", server.url.encode())]
    async with follow(server, headers=own) as socket:
        assert (await message(socket))["type"] == "snapshot"


async def test_there_are_only_so_many_clients_and_a_place_comes_free(server: Served) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(follow(server)) for _ in range(CLIENTS)]
        assert {(await message(socket))["type"] for socket in sockets} == {"snapshot"}

        async with follow(server) as one_more:
            assert await closed(one_more) == 1013
        await sockets[0].aclose()

        for _ in range(100):  # the server sees the close a moment later
            async with follow(server) as again:
                heard = await first_word(again)
            if heard == "snapshot":
                break
            await trio.sleep(0.05)
        assert heard == "snapshot"


async def first_word(socket: WebSocketConnection) -> str:
    try:
        return str((await message(socket))["type"])
    except ConnectionClosed:
        return "closed"


async def test_what_a_client_says_later_is_dropped(server: Served) -> None:
    async with follow(server) as socket:
        for _ in range(200):
            await socket.send_message("{" * 100)

        assert (await message(socket))["type"] == "snapshot"


def test_a_path_that_is_no_socket_is_a_404(server: Served) -> None:
    assert status(server, "/v1/nothing") == 404


def test_the_server_stops_at_once_and_says_so_to_who_follows(model: Path) -> None:
    served = serve(model)

    async def leave() -> int:
        async with follow(served) as socket:
            await message(socket)
            served.process.terminate()
            return await closed(socket)

    begun = time.monotonic()
    assert trio.run(leave) == 1001
    assert served.process.wait(20) == 0
    assert time.monotonic() - begun < 20  # the grace is 30
    served.end()


def test_switched_off_there_is_no_dashboard(model: Path) -> None:
    served = serve(model, MLX_DASHBOARD_ENABLED="0")
    statuses = {
        served.client.get(served.url + path).status_code
        for path in ("/dashboard", "/dashboard/", "/dashboard/app.js", "/dashboard/api/snapshot")
    }
    open_ones = httpx2.get(served.url + "/dashboard/", trust_env=False).status_code

    assert statuses == {404}
    assert open_ones in (401, 404)
    assert status(served, "/dashboard/ws") == 404
    assert served.stop() == 0
    served.end()


PROMPT_CHARS = 100_000  # kept and shown: each request makes the state that much longer
FULL = 90  # such requests are more than the buffers of both sides hold


def lazy_follower(served: Served) -> socket.socket:
    """Open a socket that asks for the feed and reads nothing; its own buffer is small."""
    host, port = served.url.removeprefix("http://").split(":")
    follower = socket.socket()
    follower.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    follower.connect((host, int(port)))
    head = (
        f"GET /dashboard/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    follower.sendall(head.encode())
    return follower


def fill(served: Served) -> None:
    """Change the state by more bytes than anybody buffers."""
    for number in range(FULL):
        served.chat(messages=[{"role": "user", "content": f"{number} " + "x" * PROMPT_CHARS}])


def followers(served: Served) -> dict[str, int]:
    shown: dict[str, int] = served.get("/v1/state")["dashboard"]
    return shown


@contextmanager
def serve_long_states(model: Path, write_timeout_s: int) -> Iterator[Served]:
    kept = ("--capture-prompts", "--max-prompt-chars", str(PROMPT_CHARS))
    served = serve(model, *kept, "--write-timeout-s", str(write_timeout_s))
    try:
        yield served
    finally:
        served.end()


def test_a_client_that_was_stuck_goes_on_with_the_newest_state(model: Path) -> None:
    with serve_long_states(model, 60) as served, lazy_follower(served) as follower:
        eventually(lambda: followers(served)["subscribers"] == 1)
        fill(served)
        follower.settimeout(20)
        heard = b""
        while heard.count(b'{"type":"snapshot"') < 2:  # the first one, and one for what it missed
            heard += follower.recv(1 << 20)
        assert heard.count(b'{"type":"delta"') < FULL
        assert followers(served)["slow"] >= 1


def test_a_client_that_stays_stuck_is_cut_off_and_holds_up_nobody(model: Path) -> None:
    async def watch(served: Served) -> None:
        async with follow(served) as other, trio.open_nursery() as nursery:
            document: Any = {}

            async def listen() -> None:
                nonlocal document
                while True:
                    heard = await message(other)
                    if heard["type"] == "snapshot":
                        document = heard["state"]
                    elif heard["type"] == "delta":
                        document = apply(document, heard["patch"])

            nursery.start_soon(listen)
            await trio.to_thread.run_sync(fill, served)
            with trio.fail_after(20):
                while document["dashboard"]["subscribers"] > 1:  # noqa: ASYNC110 - told by a feed
                    await trio.sleep(0.05)
                while document["totals"]["requests"] < FULL:  # noqa: ASYNC110 - told by a feed
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()

    with serve_long_states(model, 1) as served, lazy_follower(served):
        eventually(lambda: followers(served)["subscribers"] == 1)
        trio.run(watch, served)
