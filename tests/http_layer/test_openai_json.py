"""What is no JSON object, or too much of one, is a bad request of every route."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Text
from lattice_http.openai.bodies import parse_json
from lattice_http.openai.chat import parse_chat
from lattice_http.openai.completions import parse_completion
from tests.http_layer.openai_bodies import HELLO, NOW, Parse, chat, completion, refused

BAD_JSON = [
    b"",
    b" ",
    b"hello",
    b'{"a": 1',
    b'{"a": 1} x',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": -Infinity}',
    b'{"a": 1e999}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": "\x00"}',
    b'{"a": ' + b"9" * 6000 + b"}",
    b'{"a": ' * 100_000,
    b"[" * 100_000,
    b"[]",
    b"5",
    b'"text"',
    b"null",
]


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: repr(body[:24]))
def test_what_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json(body)

    assert caught.value.message


@pytest.mark.parametrize("parse", [parse_chat, parse_completion])
@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: repr(body[:24]))
def test_no_route_takes_what_is_no_json_object(parse: Parse, body: bytes) -> None:
    assert refused(parse, body).message


def test_invalid_utf8_is_refused_also_where_nobody_reads_it() -> None:
    body = b'{"messages":[{"role":"user","content":"x"}],"unknown":"\xff"}'

    assert refused(parse_chat, body).code == "invalid_json"


def test_a_byte_order_mark_does_no_harm() -> None:
    body = b'\xef\xbb\xbf{"messages":[{"role":"user","content":"x"}]}'

    assert parse_chat(body, {}, NOW).messages[0]["content"] == "x"
    assert parse_json(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"messages": HELLO * 100_000}).encode(),
        b'{"messages":[' + b"{}," * 3_000_000 + b"{}]}",
        b'{"messages":[{"role":"user","content":"' + b"a" * 9_000_000 + b'"}]}',
        b'{"messages":[{"role":"user","content":"x"}],' + b'"k":0,' * 1_500_000 + b'"k":0}',
    ],
    ids=["100k messages", "3M empty objects", "9 MB of text", "1.5M fields"],
)
def test_a_huge_body_is_parsed_or_refused_quickly(body: bytes) -> None:
    started = time.perf_counter()
    with suppress(BadRequest):
        parse_chat(body, {}, NOW)
    # 50 to 150 ms on two shared cores; without the limits the worst of these takes many times
    # as long. Wide, for a loaded machine.
    assert time.perf_counter() - started < 2.0


def test_an_object_has_a_bounded_number_of_fields() -> None:
    many: dict[str, Any] = {f"x{index}": 1 for index in range(300)}

    assert len(chat(**dict(list(many.items())[:250])).ignored) == 250
    for fields in (many, {"queue": many}):
        error = refused(parse_chat, json.dumps({"messages": HELLO, **fields}).encode())
        assert "more than 256 fields" in error.message


def test_only_messages_and_prompt_may_be_large() -> None:
    large = "x" * 2_000_000

    assert chat(messages=[{"role": "user", "content": large}]).text_bytes == 2_000_000
    assert completion(prompt=large).prompts == (Text(large),)
    error = refused(parse_chat, json.dumps({"messages": HELLO, "metadata": large}).encode())
    assert "beside messages and prompt" in error.message
