"""The events of Anthropic's streams, for tests."""

from __future__ import annotations

import json
from typing import Any

from tests.remote.fault_server import END, HEAD, Behaviour, chunk, sending


def named(kind: str, **fields: object) -> bytes:
    body = json.dumps({"type": kind, **fields})
    return f"event: {kind}\ndata: {body}\n\n".encode()


def start(**usage: int) -> bytes:
    told = {"input_tokens": 7, "output_tokens": 1, **usage}
    return named("message_start", message={"id": "msg_1", "role": "assistant", "usage": told})


def block(index: int, kind: str = "text", **fields: object) -> bytes:
    content: dict[str, Any] = {"type": kind, **fields}
    return named("content_block_start", index=index, content_block=content)


def piece(text: str, index: int = 0) -> bytes:
    return delta(index, "text_delta", text=text)


def delta(index: int, kind: str, **fields: object) -> bytes:
    return named("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int = 0) -> bytes:
    return named("content_block_stop", index=index)


def last(reason: str = "end_turn", **usage: int) -> bytes:
    told = {"output_tokens": 3, **usage}
    end = {"stop_reason": reason, "stop_sequence": None}
    return named("message_delta", delta=end, usage=told) + named("message_stop")


PING = named("ping")
HELLO = start() + block(0, text="") + PING + piece("hel") + piece("lo") + stop() + last()


def saying(body: bytes = HELLO) -> Behaviour:
    """An answer in order, made of *body*; the connection is closed after it."""
    return sending(HEAD, chunk(body) + END)
