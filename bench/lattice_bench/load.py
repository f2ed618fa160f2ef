"""Ask a server, and note when each part of its answer came."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import msgspec
import trio

from .answers import Answer, Run
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
        return tail if self._in_v1 else "/v1" + tail

    @property
    def connects_to(self) -> str:
        """The URL that paths beside /v1 are relative to."""
        return self.base_url.rstrip("/").removesuffix("/v1") if self._in_v1 else self.base_url

    @property
    def _in_v1(self) -> bool:
        return split(self.base_url).path.rstrip("/").endswith("/v1")

    def connection(self) -> Connection:
        """Return a connection that is not open yet."""
        return Connection(self.base_url, (("accept", "text/event-stream"), *self._headers))

    def root(self) -> Connection:
        """Return one for the routes beside /v1, whose answers come as a whole."""
        return Connection(self.connects_to, (("accept", "application/json"), *self._headers))

    @property
    def _headers(self) -> tuple[tuple[str, str], ...]:
        key = (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()
        return (*key, *self.headers)

    def body(self, text: str, max_tokens: int) -> bytes:
        """Return the JSON of one streamed, greedy chat request."""
        return self.chat([{"role": "user", "content": text}], max_tokens)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        max_tokens: int,
        fields: Mapping[str, object] | None = None,
    ) -> bytes:
        """Return the JSON of a request with a history; *fields* are more of it."""
        request = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **(fields or {}),
        }
        return json.dumps(request).encode()


async def ask(
    target: Target,
    connection: Connection,
    body: bytes,
    on_text: Callable[[], None] | None = None,
) -> Answer:
    """Send one request and read its answer; what goes wrong is in `Answer.error`.

    *on_text* is called at each event with text.
    """
    answer = Answer(trio.current_time())
    try:
        with trio.fail_after(target.timeout_s):
            await connection.open()
            answer.began = trio.current_time()
            response = await connection.request("POST", target.path, body)
            answer.status = response.status
            if response.status == 200:
                await _read_events(connection, answer, on_text)
            else:
                answer.retry_after_s = retry_after_s(response.headers.get("retry-after", ""))
                answer.error = refusal(response, await connection.read())
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


async def _read_events(
    connection: Connection, answer: Answer, on_text: Callable[[], None] | None
) -> None:
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
                answer.parts += [choice.delta.content or "" for choice in chunk.choices]
                if on_text is not None:
                    on_text()
            for choice in chunk.choices:
                answer.finish_reason = choice.finish_reason or answer.finish_reason
            if usage := chunk.usage:
                answer.tokens, answer.prompt_tokens = usage.completion_tokens, usage.prompt_tokens
                details = usage.prompt_tokens_details
                answer.cached_tokens = details.cached_tokens if details else None
    answer.tokens = answer.tokens or answer.events


def retry_after_s(header: str) -> float | None:
    """Return the seconds of a Retry-After header; a date, or none, is None."""
    try:
        return max(0.0, float(header))
    except ValueError:
        return None


def refusal(response: Response, body: bytes) -> str:
    """Return the words of an answer that is none."""
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, LookupError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    return f"{response.status}: {message}"


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
