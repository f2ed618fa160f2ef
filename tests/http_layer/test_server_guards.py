"""Every guard of the serve loop as a drill: ours passes it, plain Hypercorn fails it.

When `test_plain_hypercorn_still_needs_the_guard` fails after an upgrade, that guard may go
(docs/design/0005-serve-loop.md). Real sockets on loopback, so real but short times.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import h2.events as h2_events
import pytest
import trio

from lattice_http.server import AddressInUse, CannotBind, ServeOptions, serve
from tests.http_layer.plain_clients import (
    FLOOD_BYTES,
    GRACE_S,
    KEEP_ALIVE_S,
    WRITE_S,
    Target,
    build_app,
    closes,
    frame,
    get,
    h2_client,
    h2_headers,
    happens,
    ours,
    plain,
    read_until,
    reset,
    upgrade,
)

Drill: TypeAlias = Callable[[Target], Awaitable[None]]


async def an_idle_connection_is_closed_after_its_first_request(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(get("/hello"))
        assert b"world" in await read_until(client, b"}")

        assert await closes(client, KEEP_ALIVE_S + 0.5)


async def an_idle_http2_connection_is_closed(target: Target) -> None:
    h2 = h2_client()
    async with target.connect() as client:
        h2.send_headers(1, h2_headers("GET", "/hello"), end_stream=True)
        await client.send_all(h2.data_to_send())
        assert b"world" in await read_until(client, b"world")

        assert await closes(client, KEEP_ALIVE_S + 0.5)


async def an_idle_client_does_not_delay_the_stop(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(get("/hello"))
        await read_until(client, b"}")
        target.stop.set()

        with trio.move_on_after(KEEP_ALIVE_S / 2):
            await target.stopped.wait()
        assert target.stopped.is_set()


async def a_client_that_never_reads_is_cut_off(target: Target) -> None:
    async with target.connect(receive_buffer=4096) as client:
        await client.send_all(get("/flood"))

        assert await happens(target, "flood ended", WRITE_S + 0.6)
        assert target.events["flooded"] < FLOOD_BYTES


async def a_client_that_never_reads_does_not_delay_the_stop(target: Target) -> None:
    async with target.connect(receive_buffer=4096) as client:
        await client.send_all(get("/flood"))
        await trio.sleep(0.1)
        target.stop.set()

        with trio.move_on_after(GRACE_S + 0.5):
            await target.stopped.wait()
        assert target.stopped.is_set()


async def _upload(target: Target, path: str) -> None:
    """Send a body without end; the connection must be closed soon after the refusal."""
    async with target.connect() as client:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        await client.send_all(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        with trio.move_on_after(1.0):
            try:
                while True:
                    await client.send_all(chunk)
            except trio.BrokenResourceError:
                return
        raise AssertionError("the upload goes on")


async def an_upload_is_cut_after_its_refusal(target: Target) -> None:
    for _ in range(5):  # on plain Hypercorn some tries are cut by luck
        await _upload(target, "/upload")


async def an_answer_before_the_body_does_not_hang_the_connection(target: Target) -> None:
    await _upload(target, "/refused")


async def a_closed_http2_window_stops_the_sender(target: Target) -> None:
    h2 = h2_client(initial_window=0)
    async with target.connect() as client:
        h2.send_headers(1, h2_headers("GET", "/flood"), end_stream=True)
        await client.send_all(h2.data_to_send())
        await trio.sleep(WRITE_S / 2)

        assert 0 < target.events["flooded"] < 1_000_000


async def a_closed_http2_window_is_given_up(target: Target) -> None:
    h2 = h2_client(initial_window=0)
    async with target.connect() as client:
        h2.send_headers(1, h2_headers("GET", "/hello"), end_stream=True)
        await client.send_all(h2.data_to_send())
        with trio.move_on_after(WRITE_S + 0.5):
            while True:
                for event in h2.receive_data(await client.receive_some(65536)):
                    if isinstance(event, h2_events.StreamReset):
                        return
        raise AssertionError("the stream was never reset")


async def http2_data_behind_an_answer_is_harmless(target: Target) -> None:
    h2 = h2_client()
    async with target.connect() as client:
        h2.send_headers(1, h2_headers("POST", "/refused", ("content-type", "application/json")))
        await client.send_all(h2.data_to_send())
        await trio.sleep(0.15)  # the answer is out
        h2.send_data(1, b"[]")
        await client.send_all(h2.data_to_send())
        await trio.sleep(0.05)
    assert target.crash is None
    async with target.connect() as client:
        await client.send_all(get("/hello"))
        assert b"world" in await read_until(client, b"}")


async def a_pipelined_request_does_not_hide_a_fin(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(get("/silent") + get("/hello"))
        assert b": open" in await read_until(client, b": open")
        await client.send_eof()

        assert await happens(target, "silent ended", 0.3)


async def a_pipelined_request_does_not_hide_a_reset(target: Target) -> None:
    client = target.connect()
    await client.send_all(get("/silent") + get("/hello"))
    assert b": open" in await read_until(client, b": open")
    reset(client)

    assert await happens(target, "silent ended", 0.3)


async def a_websocket_has_no_deflate(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(upgrade("Sec-WebSocket-Extensions: permessage-deflate"))
        answer = await read_until(client, b"\r\n\r\n")

        assert b" 101 " in answer
        assert b"permessage-deflate" not in answer


async def an_over_long_message_closes_the_connection(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(upgrade())
        await read_until(client, b"\r\n\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_quietly, client, frame(2, bytes(1024 * 1024 + 1)))

            closed = await closes(client, 0.6)
            nursery.cancel_scope.cancel()
        assert closed


async def _send_quietly(client: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await client.send_all(data)


async def a_websocket_that_answers_no_ping_is_closed(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(upgrade())
        await read_until(client, b"\r\n\r\n")

        assert await closes(client, 1.2)


async def three_thousand_headers_are_refused(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(get("/hello", *(f"a{n}: b" for n in range(3000))))

        assert b" 431 " in await read_until(client, b"\r\n\r\n")


async def a_broken_absolute_target_is_refused(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(get("http://[::1"))

        assert b" 400 " in await read_until(client, b"\r\n\r\n")


async def two_lengths_are_refused(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )

        assert b" 400 " in await read_until(client, b"\r\n\r\n")


async def a_refusal_comes_instead_of_100_continue(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )

        assert (await read_until(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")


async def what_is_not_http_gets_an_error_object(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

        answer = await read_until(client, b"}}")
        assert b" 400 " in answer
        assert b'{"error": {"message"' in answer


async def slow_headers_get_a_408(target: Target) -> None:
    async with target.connect() as client:
        await client.send_all(b"GET /hello HTTP/1.1\r\nHost: lo")

        assert b" 408 " in await read_until(client, b"\r\n\r\n", KEEP_ALIVE_S + 0.5)


async def a_rush_of_connections_is_taken_at_once(target: Target) -> None:
    clients = [socket.socket() for _ in range(300)]
    try:
        poll = select.poll()
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", target.port))
            poll.register(client, select.POLLOUT)
        # The server shares this thread, so it is the kernel's queue that has to hold them.
        assert len(poll.poll(0)) == len(clients)
    finally:
        for client in clients:
            client.close()


async def rapid_resets_end_the_connection(target: Target) -> None:
    h2 = h2_client()
    async with target.connect() as client:
        for number in range(400):
            h2.send_headers(2 * number + 1, h2_headers("GET", "/silent"), end_stream=True)
            h2.reset_stream(2 * number + 1)
        await _send_quietly(client, h2.data_to_send())

        assert await closes(client, 0.8)


DRILLS: list[Drill] = [
    an_idle_connection_is_closed_after_its_first_request,
    an_idle_http2_connection_is_closed,
    an_idle_client_does_not_delay_the_stop,
    a_client_that_never_reads_is_cut_off,
    a_client_that_never_reads_does_not_delay_the_stop,
    an_upload_is_cut_after_its_refusal,
    an_answer_before_the_body_does_not_hang_the_connection,
    a_closed_http2_window_stops_the_sender,
    a_closed_http2_window_is_given_up,
    http2_data_behind_an_answer_is_harmless,
    a_pipelined_request_does_not_hide_a_fin,
    a_pipelined_request_does_not_hide_a_reset,
    a_websocket_has_no_deflate,
    an_over_long_message_closes_the_connection,
    a_websocket_that_answers_no_ping_is_closed,
    three_thousand_headers_are_refused,
    a_broken_absolute_target_is_refused,
    two_lengths_are_refused,
    a_refusal_comes_instead_of_100_continue,
    what_is_not_http_gets_an_error_object,
    slow_headers_get_a_408,
    a_rush_of_connections_is_taken_at_once,
    rapid_resets_end_the_connection,
]
each_drill = pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.__name__)


@each_drill
async def test_our_server_passes(drill: Drill) -> None:
    async with ours() as target:
        await drill(target)


# On plain Hypercorn this one leaves a connection that not even a cancellation ends.
HANGS_FOR_GOOD = an_answer_before_the_body_does_not_hang_the_connection


@pytest.mark.parametrize(
    "drill",
    [drill for drill in DRILLS if drill is not HANGS_FOR_GOOD],
    ids=lambda drill: drill.__name__,
)
async def test_plain_hypercorn_still_needs_the_guard(drill: Drill) -> None:
    async with plain() as target:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await drill(target)


async def test_plain_hypercorn_hangs_for_good_on_an_early_answer() -> None:
    """In a process of its own, which leaves without waiting for it."""
    code = (
        "import os, trio\n"
        "from tests.http_layer.plain_clients import plain\n"
        f"from tests.http_layer.test_server_guards import {HANGS_FOR_GOOD.__name__} as drill\n"
        "async def main():\n"
        "    async with plain() as target:\n"
        "        try:\n"
        "            await drill(target)\n"
        "        except BaseException:\n"
        "            os._exit(17)\n"
        "        os._exit(0)\n"
        "trio.run(main)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    with trio.fail_after(20):
        ended = await trio.run_process(
            [sys.executable, "-c", code], env=environment, check=False, capture_stderr=True
        )

    assert ended.returncode == 17, ended.stderr.decode()


async def test_a_head_leaves_with_what_follows_in_one_segment() -> None:
    async with ours() as target, target.connect() as client:
        await client.send_all(get("/silent"))
        with trio.fail_after(2):
            segment = await client.receive_some(65536)

    assert segment.startswith(b"HTTP/1.1 200")
    assert b": open" in segment


async def test_a_head_with_nothing_behind_it_is_sent_before_the_connection_is_closed() -> None:
    async with ours() as target, target.connect() as client:
        await client.send_all(get("/head-only"))

        assert (await read_until(client, b"never")).startswith(b"HTTP/1.1 200")


async def test_five_pipelined_requests_get_five_answers() -> None:
    async with ours() as target, target.connect() as client:
        await client.send_all(get("/hello") * 5)

        answers = b""
        while answers.count(b"world") < 5:
            answers += await read_until(client, b"world")
        assert answers.count(b" 200 ") == 5


async def test_endless_pipelining_closes_the_connection() -> None:
    async with ours() as target, target.connect() as client:
        await client.send_all(get("/silent"))
        await read_until(client, b": open")
        await _send_quietly(client, get("/hello") * 5000)

        assert await happens(target, "silent ended", 2.0)


async def test_uploads_back_to_back_are_all_answered() -> None:
    """The next one begins to arrive a moment before the server is done with the last."""
    size = 90_000  # more than is kept ahead of an answer
    head = f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
    upload = f"{head}Content-Type: application/json\r\n\r\n".encode() + b" " * size
    async with ours() as target, target.connect() as client:
        for together in (False, True) * 30:
            if together:
                await client.send_all(get("/hello") + upload)
            else:
                await client.send_all(get("/hello"))
                assert b" 200 " in await read_until(client, b"world")
                await client.send_all(upload)
            assert b'"got":90000' in await read_until(client, b"90000}")


@pytest.mark.parametrize("leave", ["fin", "reset"])
async def test_a_client_that_leaves_a_silent_stream_is_noticed(leave: str) -> None:
    async with ours() as target:
        client = target.connect()
        await client.send_all(get("/silent"))
        await read_until(client, b": open")
        if leave == "fin":
            await client.aclose()
        else:
            reset(client)

        assert await happens(target, "silent ended", 0.2)


async def test_a_large_http2_answer_arrives_whole() -> None:
    async with ours() as target, target.connect() as client:
        h2 = h2_client()
        h2.increment_flow_control_window(2**30)
        h2.send_headers(1, h2_headers("GET", "/flood"), end_stream=True)
        await client.send_all(h2.data_to_send())
        got, ended = 0, False
        with trio.fail_after(10):
            while not ended and got < 4_000_000:
                for event in h2.receive_data(await client.receive_some(65536)):
                    if isinstance(event, h2_events.DataReceived):
                        got += len(event.data or b"")
                        h2.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                    ended = ended or isinstance(event, h2_events.StreamEnded)
                await client.send_all(h2.data_to_send())

        assert got >= 4_000_000


async def test_an_upload_arrives_after_100_continue() -> None:
    async with ours() as target, target.connect() as client:
        await client.send_all(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert b"100" in await read_until(client, b"\r\n\r\n")
        await client.send_all(b"[1]")

        assert b'"got":3' in await read_until(client, b"}")


async def test_one_connection_too_many_is_answered_503_and_closed() -> None:
    options = ServeOptions(port=0, max_connections=2, linger_s=0.1)
    async with ours(options) as target, target.connect() as one, target.connect() as two:
        for client in (one, two):
            await client.send_all(get("/hello"))
            assert b" 200 " in await read_until(client, b"}")

        async with target.connect() as three:
            assert b" 503 " in await read_until(three, b"}}")  # before it has said anything
            assert await closes(three, 1.0)

        await one.aclose()
        await trio.sleep(0.05)
        async with target.connect() as four:
            await four.send_all(get("/hello"))
            assert b" 200 " in await read_until(four, b"}")


async def test_a_stop_lets_answers_end_and_takes_no_new_connection() -> None:
    async with ours() as target, target.connect() as client:
        await client.send_all(get("/silent"))
        await read_until(client, b": open")
        target.stop.set()
        await trio.sleep(0.1)

        with pytest.raises(ConnectionRefusedError):
            target.connect()
        assert (target.stopped.is_set(), target.events["silent ended"]) == (False, 0)
        with trio.fail_after(GRACE_S + 0.5):
            await target.stopped.wait()
        assert (target.cut_off, target.events["silent ended"]) == (1, 1)


async def test_cut_ends_the_grace_early() -> None:
    stop, cut, stopped = trio.Event(), trio.Event(), trio.Event()
    app = build_app(Counter())

    async def run(task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
        options = ServeOptions(port=0, graceful_timeout_s=60)
        assert await serve(app, options, shutdown=stop, cut=cut, task_status=task_status) == 1
        stopped.set()

    async with trio.open_nursery() as nursery:
        [(host, port)] = await nursery.start(run)
        async with await trio.open_tcp_stream(host, port) as client:
            await client.send_all(get("/silent"))
            await read_until(client, b": open")
            stop.set()
            await trio.sleep(0.05)
            assert not stopped.is_set()
            cut.set()
            with trio.fail_after(1):
                await stopped.wait()


async def test_a_port_in_use_is_told_in_one_line() -> None:
    async with ours() as target:
        with pytest.raises(AddressInUse) as caught:
            await serve(build_app(Counter()), ServeOptions(port=target.port), shutdown=trio.Event())

    assert caught.value.message == (
        f"127.0.0.1:{target.port} is already in use by another program; "
        "stop it or choose another port"
    )


async def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(CannotBind, match=r"cannot listen on 192\.0\.2\.1:0"):
        await serve(
            build_app(Counter()), ServeOptions(host="192.0.2.1", port=0), shutdown=trio.Event()
        )
