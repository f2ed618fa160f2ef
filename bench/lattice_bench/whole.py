"""Ask a swarm route: one request, one JSON answer that comes as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec
import trio

from .answers import Answer
from .load import NETWORK_ERRORS, Target, refusal, retry_after_s

ABSENT = (404, 405, 501)  # a server that does not know a route


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Response(msgspec.Struct):
    usage: _Usage | None = None


class _Row(msgspec.Struct):
    ok: bool = True
    error: str | None = None
    text: str | None = None
    response: _Response | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    """What is looked at in an answer of fan-out (rows) or of vote (choices and usage)."""

    responses: list[_Row] = []
    choices: list[_Choice] = []
    usage: _Usage | None = None


_bodies = msgspec.json.Decoder(_Body)


def swarm_body(
    model: str,
    samples: int,
    messages: Sequence[Mapping[str, str]],
    max_tokens: int,
    fields: Mapping[str, object],
) -> bytes:
    """Return the JSON of a request for *samples* of one model."""
    body = {
        "models": [{"model": model, "samples": samples}],
        "messages": list(messages),
        "max_tokens": max_tokens,
        "stream": False,
        **fields,
    }
    return json.dumps(body).encode()


async def ask_whole(target: Target, route: str, body: bytes) -> Answer:
    """Send one request and read its answer; what goes wrong is in `Answer.error`."""
    connection = target.root()
    answer = Answer(trio.current_time())
    try:
        with trio.fail_after(target.timeout_s):
            await connection.open()
            answer.began = trio.current_time()
            response = await connection.request("POST", route, body)
            answer.status = response.status
            content = await connection.read()
            if response.status == 200:
                _note(answer, _bodies.decode(content))
            else:
                answer.retry_after_s = retry_after_s(response.headers.get("retry-after", ""))
                answer.error = refusal(response, content)
    except trio.TooSlowError:
        answer.error = f"no answer within {target.timeout_s:g} s"
    except NETWORK_ERRORS as error:
        answer.error = f"{type(error).__name__}: {error}"
    except msgspec.DecodeError as error:
        answer.error = f"an answer of another shape: {error}"
    finally:
        await connection.aclose()
    answer.ended = trio.current_time()
    return answer


def _note(answer: Answer, body: _Body) -> None:
    answer.done = True
    usages = [row.response.usage for row in body.responses if row.response is not None]
    for usage in (*usages, body.usage):
        if usage is not None:
            answer.tokens += usage.completion_tokens
            answer.prompt_tokens = (answer.prompt_tokens or 0) + usage.prompt_tokens
    answer.parts += [row.text or "" for row in body.responses]
    for choice in body.choices[:1]:
        answer.parts.append(choice.message.content or "")
        answer.finish_reason = choice.finish_reason
    failed = [row for row in body.responses if not row.ok]
    if failed:
        answer.error = f"a sample failed: {failed[0].error or 'it does not say why'}"


async def has_route(target: Target, route: str) -> bool:
    """Say whether the server knows *route*; a refusal of an empty request is a yes."""
    connection = target.root()
    try:
        with trio.fail_after(target.timeout_s):
            response = await connection.request("POST", route, b"{}")
            return response.status not in ABSENT
    except (trio.TooSlowError, *NETWORK_ERRORS):
        return False
    finally:
        await connection.aclose()
