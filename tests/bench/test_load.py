"""What the bench notes about answers, good and bad, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from lattice_bench.load import Target, ask, retry_after_s, run_load
from lattice_bench.source import END, HEAD, chunk, completion

Handler = Callable[[trio.SocketStream, dict[str, object], int], Awaitable[None]]


def delta(**delta: object) -> bytes:
    return chunk(completion([{"index": 0, "delta": delta, "finish_reason": None}]))


LAST = chunk(completion([{"index": 0, "delta": {}, "finish_reason": "length"}]))
USAGE = chunk(
    completion(
        [],
        usage={
            "prompt_tokens": 40,
            "completion_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 30},
        },
    )
)
DONE = chunk("[DONE]")


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """Serve with *handler*, which gets the body and how many requests were in work with it."""
    inside = 0

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):  # the client left
                await answer_all(stream)

    async def answer_all(stream: trio.SocketStream) -> None:
        nonlocal inside
        buffered = b""
        while data := await stream.receive_some():
            buffered += data
            head, blank, body = buffered.partition(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            if blank and len(body) == length:
                buffered = b""
                inside += 1
                await handler(stream, json.loads(body), inside)
                inside -= 1

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel(reason="the test is over")


def saying(data: bytes) -> Handler:
    async def handler(stream: trio.SocketStream, body: dict[str, object], inside: int) -> None:
        await stream.send_all(data)

    return handler


async def test_times_and_tokens_of_a_good_answer() -> None:
    async def handler(stream: trio.SocketStream, body: dict[str, object], inside: int) -> None:
        assert body["stream_options"] == {"include_usage": True}
        await stream.send_all(HEAD + delta(role="assistant", content=""))
        for text in ("a", " b", " c"):
            await trio.sleep(0.02)
            await stream.send_all(delta(content=text))
        await stream.send_all(LAST + USAGE + DONE + END)

    async with server(handler) as url:
        target = Target(url, "auto")
        connection = target.connection()
        answer = await ask(target, connection, target.body("hi", 6))
        await connection.aclose()

    assert answer.error is None
    assert (answer.tokens, answer.events, answer.prompt_tokens, answer.cached_tokens) == (
        6,
        3,
        40,
        30,
    )
    assert answer.finish_reason == "length"
    assert answer.ttft_s is not None
    assert answer.ttft_s >= 0.02  # the role alone is no text
    assert len(answer.gaps_s) == 2
    assert min(answer.gaps_s) > 0.01
    assert answer.total_s >= answer.ttft_s + sum(answer.gaps_s)


async def test_a_reader_is_told_of_each_text_and_keeps_it() -> None:
    texts = (
        delta(role="assistant") + delta(content="a", reasoning_content="hm") + delta(content="b")
    )
    told = list[int]()

    async with server(saying(HEAD + texts + LAST + DONE + END)) as url:
        target = Target(url, "auto")
        connection = target.connection()
        answer = await ask(target, connection, b"{}", lambda: told.append(len(told)))
        await connection.aclose()

    assert told == [0, 1]
    assert answer.text == "ab"
    assert answer.ttft_s is not None
    assert answer.texts_at[0] == answer.began + answer.ttft_s
    assert len(answer.texts_at) == 2


async def test_a_refusal_says_when_to_come_back() -> None:
    refusal = b"HTTP/1.1 429 Busy\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n"
    async with server(saying(refusal)) as url:
        run = await run_load(Target(url, "auto"), [b"{}"], 1)

    assert (run.answers[0].status, run.answers[0].retry_after_s) == (429, 3.0)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("2", 2.0), ("0.5", 0.5), ("-1", 0.0), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)
def test_retry_after_is_read_in_seconds(header: str, wait_s: float | None) -> None:
    assert retry_after_s(header) == wait_s


async def test_without_a_usage_chunk_events_are_counted() -> None:
    texts = delta(content="a") + delta(reasoning_content="b")
    async with server(saying(HEAD + texts + LAST + DONE + END)) as url:
        run = await run_load(Target(url, "auto"), [b"{}"], 1)

    assert (run.answers[0].tokens, run.answers[0].prompt_tokens) == (2, None)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (
            b"HTTP/1.1 429 Busy\r\ncontent-length: 29\r\n\r\n" + b'{"error":{"message":"queue"}}',
            "429: queue",
        ),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", "500: oops"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n[]", "500: []"),
        (HEAD + delta(content="a") + END, "the stream ended without [DONE]"),
        (HEAD + chunk("{") + DONE + END, "an event that is no chunk"),
        (HEAD + chunk({"choices": [], "error": {"code": "x"}}) + DONE + END, "in mid-stream"),
        (b"nonsense\r\n\r\n", "BadResponse"),
    ],
)
async def test_what_goes_wrong_is_the_error_of_its_answer(data: bytes, error: str) -> None:
    async with server(saying(data)) as url:
        run = await run_load(Target(url, "auto"), [b"{}", b"{}"], 1)

    assert [error in (answer.error or "") for answer in run.answers] == [True, True]
    assert run.good == []
    assert run.tokens_per_s == 0


async def test_an_answer_has_a_time_limit() -> None:
    async def handler(stream: trio.SocketStream, body: dict[str, object], inside: int) -> None:
        await stream.send_all(HEAD)
        await trio.sleep_forever()

    async with server(handler) as url:
        run = await run_load(Target(url, "auto", timeout_s=0.05), [b"{}"], 1)

    assert run.answers[0].error == "no end within 0.05 s"


async def test_as_many_requests_are_in_work_as_wanted() -> None:
    most = 0

    async def handler(stream: trio.SocketStream, body: dict[str, object], inside: int) -> None:
        nonlocal most
        most = max(most, inside)
        await trio.sleep(0.01)
        await stream.send_all(HEAD + LAST + DONE + END)

    async with server(handler) as url:
        run = await run_load(Target(url, "auto"), [b"{}"] * 12, 4)

    assert most == 4
    assert len(run.good) == 12


async def test_a_server_that_is_not_there_is_one_error() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()

    with pytest.raises(OSError, match="connect"):
        await run_load(Target(f"http://127.0.0.1:{port}", "auto"), [b"{}"], 1)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h", "/v1/chat/completions"),
        ("http://h/", "/v1/chat/completions"),
        ("http://h/v1", "/chat/completions"),
        ("https://h/api/v1/", "/chat/completions"),
    ],
)
def test_the_base_url_may_have_v1(url: str, path: str) -> None:
    assert Target(url, "auto").path == path
