"""Ask a server, and note when each part of its answer came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import attrs
import msgspec
import trio

from .http1 import BadResponse, Connection, Response, split
from .sse import BadEventStream, EventStream

NETWORK_ERRORS = (OSError, trio.BrokenResourceError, BadResponse, BadEventStream)


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: object = None


_chunks = msgspec.json.Decoder(_Chunk)


@attrs.frozen
class Target:
    """The server, and what every request to it has in common."""

    base_url: str  # with or without /v1
    model: str
    api_key: str | None = None
    timeout_s: float = 300.0  # of a whole answer
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The chat route, relative to the base URL; raises `ValueError` for no URL."""
        tail = "/chat/completions"
        return tail if split(self.base_url).path.rstrip("/").endswith("/v1") else "/v1" + tail

    def connection(self) -> Connection:
        """Return a connection that is not open yet."""
        key = (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()
        return Connection(self.base_url, (("accept", "text/event-stream"), *key, *self.headers))

    def body(self, text: str, max_tokens: int) -> bytes:
        """Return the JSON of one streamed, greedy chat request."""
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return json.dumps(request).encode()


@attrs.define
class Answer:
    """One answer. Times are in seconds; `error` is None if it came to its proper end."""

    began: float  # Trio clock: the connection was open, nothing was sent
    ended: float = 0.0  # Trio clock
    ttft_s: float | None = None  # to the first text
    gaps_s: list[float] = attrs.field(factory=list[float])  # between two events with text
    events: int = 0  # that carried text
    tokens: int = 0  # generated, as the server counts; else its events with text
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    done: bool = False  # "[DONE]" was there
    error: str | None = None

    @property
    def total_s(self) -> float:
        return self.ended - self.began


async def ask(target: Target, connection: Connection, body: bytes) -> Answer:
    """Send one request and read its answer; what goes wrong is in `Answer.error`."""
    answer = Answer(trio.current_time())
    try:
        with trio.fail_after(target.timeout_s):
            await connection.open()
            answer.began = trio.current_time()
            response = await connection.request("POST", target.path, body)
            if response.status == 200:
                await _read_events(connection, answer)
            else:
                answer.error = _refusal(response, await connection.read())
    except trio.TooSlowError:
        answer.error = f"no end within {target.timeout_s:g} s"
    except NETWORK_ERRORS as error:
        answer.error = f"{type(error).__name__}: {error}"
    except msgspec.DecodeError as error:
        answer.error = f"an event that is no chunk: {error}"
    answer.ended = trio.current_time()
    if answer.error is not None:
        await connection.aclose()
    elif not answer.done:
        answer.error = "the stream ended without [DONE]"
    return answer


async def _read_events(connection: Connection, answer: Answer) -> None:
    events = EventStream()
    last = 0.0
    while data := await connection.receive():
        now = trio.current_time()
        for _, payload in events.feed(data):
            if payload == b"[DONE]":
                answer.done = True
                continue
            chunk = _chunks.decode(payload)
            if chunk.error:
                answer.error = f"in mid-stream: {json.dumps(chunk.error)[:200]}"
            if any(
                choice.delta.content or choice.delta.reasoning_content for choice in chunk.choices
            ):
                answer.events += 1
                if answer.ttft_s is None:
                    answer.ttft_s = now - answer.began
                else:
                    answer.gaps_s.append(now - last)
                last = now
            for choice in chunk.choices:
                answer.finish_reason = choice.finish_reason or answer.finish_reason
            if usage := chunk.usage:
                answer.tokens, answer.prompt_tokens = usage.completion_tokens, usage.prompt_tokens
                details = usage.prompt_tokens_details
                answer.cached_tokens = details.cached_tokens if details else None
    answer.tokens = answer.tokens or answer.events


def _refusal(response: Response, body: bytes) -> str:
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, LookupError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    return f"{response.status}: {message}"


@attrs.frozen
class Run:
    """All answers of one load, and how long it took as a whole."""

    concurrency: int
    answers: tuple[Answer, ...]

    @property
    def good(self) -> list[Answer]:
        """The answers that came to their proper end."""
        return [answer for answer in self.answers if answer.error is None]

    @property
    def wall_s(self) -> float:
        """From the first request sent to the last answer ended."""
        if not self.answers:
            return 0.0
        return max(a.ended for a in self.answers) - min(a.began for a in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """Over all streams; tokens of failed answers do not count."""
        return sum(a.tokens for a in self.good) / self.wall_s if self.wall_s else 0.0


async def run_load(target: Target, bodies: Sequence[bytes], concurrency: int) -> Run:
    """Send *bodies*, always *concurrency* at a time, each worker on a connection of its own.

    A closed loop: it shows what a server does for so many clients, not what a queue does to more.
    """
    answers = list[Answer]()
    todo: Iterator[bytes] = iter(bodies)

    async def work(connection: Connection) -> None:
        try:
            for body in todo:
                answers.append(await ask(target, connection, body))
        finally:
            await connection.aclose()

    connections = [target.connection() for _ in range(min(concurrency, len(bodies)))]
    for connection in connections:
        await connection.open()  # a server that is not there is one error, not one per request
    async with trio.open_nursery() as workers:
        for connection in connections:
            workers.start_soon(work, connection)
    return Run(concurrency, tuple(answers))
