"""Reading HTTP answers: framings, cuts, keep-alive, and servers that do it wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from lattice_bench.http1 import BadResponse, BodyReader, Connection, body_length, split

OK = b"HTTP/1.1 200 OK\r\n"


def chunked(parts: Sequence[bytes]) -> bytes:
    body = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return body + b"0\r\nTrailer: x\r\n\r\n"


@given(st.lists(st.binary(max_size=20), max_size=5), st.data())
def test_chunks_do_not_depend_on_the_cuts(parts: list[bytes], data: st.DataObject) -> None:
    raw = chunked(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    reader = BodyReader(-1)

    content = b"".join(reader.feed(raw[a:b]) for a, b in pairwise([0, *cuts, len(raw)]))

    assert content == b"".join(parts)
    assert reader.done
    assert reader.rest == b""


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.data())
def test_a_cut_body_is_never_done(parts: list[bytes], data: st.DataObject) -> None:
    raw = chunked(parts)
    reader = BodyReader(-1)

    content = reader.feed(raw[: data.draw(st.integers(0, len(raw) - 1))])

    assert not reader.done
    assert b"".join(parts).startswith(content)


@pytest.mark.parametrize(
    "raw", [b"x\r\n", b"-1\r\n", b"1_0\r\n", b"\r\n", b"1\r\nabc", b"1" * 5000]
)
def test_bad_chunks_are_refused(raw: bytes) -> None:
    with pytest.raises(BadResponse):
        BodyReader(-1).feed(raw)


@pytest.mark.parametrize(
    ("status", "headers", "length"),
    [
        (200, {"transfer-encoding": "chunked", "content-length": "3"}, -1),
        (200, {"content-length": "3"}, 3),
        (200, {}, None),
        (204, {}, 0),
    ],
)
def test_the_framing_of_a_body(status: int, headers: dict[str, str], length: int | None) -> None:
    assert body_length("GET", status, headers) == length


def test_a_wrong_url_is_said() -> None:
    with pytest.raises(ValueError, match="no http or https URL: 'localhost:5001'"):
        split("localhost:5001")


@asynccontextmanager
async def answering(
    *answers: bytes, close: bool = False, size: int = 1
) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve *answers* in this order; yields the URL and the number of connections."""
    todo = list(answers)
    count = [0]

    async def serve(stream: trio.SocketStream) -> None:
        count[0] += 1
        async with stream:
            with suppress(trio.BrokenResourceError):  # the client left
                await answer_all(stream)

    async def answer_all(stream: trio.SocketStream) -> None:
        while todo:
            h = h11.Connection(h11.SERVER)
            while not isinstance(event := h.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    h.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.ConnectionClosed):
                    return
            answer = todo.pop(0)
            for begin in range(0, len(answer), size):
                await stream.send_all(answer[begin : begin + size])
            if close:
                return
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", count
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_answers_on_one_connection() -> None:
    async with answering(
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + OK
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + chunked([b"ab"]),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"Content-Length: 0\r\n\r\n",
    ) as (url, connections):
        connection = Connection(url, (("accept", "text/event-stream"),))
        got = []
        for _ in range(3):
            response = await connection.request("POST", "/x", b"{}")
            got.append((response.status, await connection.read()))
        await connection.aclose()

    assert got == [(200, b"ab"), (404, b"abc"), (200, b"")]
    assert connections == [1]


async def test_it_connects_again_when_the_server_ended_the_connection() -> None:
    answer = OK + b"Content-Length: 1\r\n\r\na"
    async with answering(answer, answer, close=True) as (url, connections):
        connection = Connection(url)
        for _ in range(2):
            await connection.request("GET", "/")
            assert await connection.read() == b"a"
            await trio.sleep(0.05)  # real time: its end has to come over a real socket
        await connection.aclose()

    assert connections == [2]


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async with answering(OK + b"\r\nabc", close=True) as (url, _):
        connection = Connection(url)
        await connection.request("GET", "/")

        assert await connection.read() == b"abc"


async def test_a_connection_left_in_mid_answer_is_not_used_again() -> None:
    answer = OK + b"Content-Length: 2\r\n\r\nab"
    async with answering(answer, answer) as (url, connections):
        connection = Connection(url)
        await connection.request("GET", "/")
        await connection.request("GET", "/")

        assert await connection.read() == b"ab"
        await connection.aclose()
    assert connections == [2]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        OK + b"x: " + b"y" * 70_000,
        OK + b"Content-Length: 5\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ],
)
async def test_a_broken_answer_is_an_error(answer: bytes) -> None:
    async with answering(answer, close=True, size=100) as (url, _):
        connection = Connection(url)

        with pytest.raises(BadResponse):
            await whole(connection)
        await connection.aclose()


async def whole(connection: Connection) -> bytes:
    await connection.request("GET", "/")
    return await connection.read()
