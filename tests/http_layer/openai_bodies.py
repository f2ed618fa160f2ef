"""Requests to OpenAI's wire, as bytes and as what they are read as."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from lattice_actors.errors import BadRequest
from lattice_http.openai.chat import ChatRequest, parse_chat
from lattice_http.openai.completions import CompletionRequest, parse_completion
from lattice_http.openai.request import ModelRequest

NOW = 1_800_000_000.0  # Unix time, seconds
Parse = Callable[[bytes, Mapping[str, str], float], ModelRequest]

HELLO = [{"role": "user", "content": "Hello"}]


def chat(headers: dict[str, str] | None = None, **fields: object) -> ChatRequest:
    body = {"messages": HELLO, **fields}
    return parse_chat(json.dumps(body).encode(), headers or {}, NOW)


def completion(**fields: object) -> CompletionRequest:
    return parse_completion(json.dumps(fields).encode(), {}, NOW)


def refused(parse: Parse, body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(body, {}, NOW)
    return caught.value
