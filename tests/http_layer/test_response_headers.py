"""Header values: whatever they are made of, they cannot break a response."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import pytest
from h11 import Response
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.generation import Prefill
from lattice_http.headers import (
    Timing,
    cache_result,
    header_value,
    ignored_params,
    routed_to,
    server_timing,
    timing_headers,
    timing_text,
)
from lattice_http.json_bytes import encode, encode_text

any_text = st.text(st.characters(exclude_categories=[]))


@given(any_text)
def test_any_text_makes_a_header_that_http_takes(text: str) -> None:
    value = header_value(text)

    assert len(value) <= 512
    Response(status_code=200, headers=[("X-Model-Resolution", value)])  # h11 checks it
    assert re.fullmatch(r"([ -$&-~]|%[0-9A-F]{2})*", value)
    assert value == value.strip()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_header_value_can_be_read_back(text: str) -> None:
    assert unquote(header_value(text)) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "fallback (requested 'x', not present)",
            "fallback (requested 'x', not present)",
        ),
        ("a\r\nSet-Cookie: x", "a%0D%0ASet-Cookie: x"),
        ("\0", "%00"),
        ("ü", "%C3%BC"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("100%", "100%25"),
        (" a ", "%20a%20"),
        ("x" * 10_000, "x" * 512),
        ("ü" * 10_000, "%C3%BC" * 85),
    ],
    ids=lambda value: value[:20],
)
def test_header_values(text: str, value: str) -> None:
    assert header_value(text) == value


def test_routed_to() -> None:
    assert routed_to("mlx", "org/m") == "mlx/org/m"


@given(st.lists(any_text, max_size=300))
def test_ignored_names_fit_in_a_header(names: list[str]) -> None:
    value = ignored_params(names)

    assert len(value) <= 512
    Response(status_code=200, headers=[("X-Lattice-Ignored-Params", value)])


def test_ignored_names_that_do_not_fit_are_counted() -> None:
    assert ignored_params(["user", "a,b"]) == "user, a%2Cb"
    value = ignored_params([f"field_{index:03}" for index in range(100)])
    shown, _, rest = value.rpartition(", +")
    assert len(shown.split(", ")) + int(rest) == 100
    assert len(value) > 480


def test_timing_headers_are_whole_milliseconds() -> None:
    timing = Timing(resolve_s=0.0015, queue_s=0.5, load_s=0.25, ttft_s=0.7, total_s=2.0)

    assert dict(timing_headers(timing)) == {
        "X-Lattice-Resolve-Ms": "1",
        "X-Lattice-Queue-Ms": "500",
        "X-Lattice-Load-Ms": "250",
        "X-Lattice-Upstream-Ms": "1498",
        "X-Lattice-Ttft-Ms": "700",
        "X-Lattice-Total-Ms": "2000",
        "X-MLX-Latency-Ms": "1498",
        "X-MLX-Queue-Wait-Ms": "500",
        "Server-Timing": "resolve;dur=1.5, queue;dur=500.0, load;dur=250.0, upstream;dur=1498.5, "
        "ttft;dur=700.0, total;dur=2000.0",
    }
    assert timing_text(timing) == (
        "resolve_ms=1 queue_ms=500 load_ms=250 upstream_ms=1498 ttft_ms=700 total_ms=2000"
    )


def test_old_names_only_where_there_is_something_to_say() -> None:
    names = {name for name, _ in timing_headers(Timing())}

    assert "X-MLX-Latency-Ms" not in names
    assert "X-MLX-Queue-Wait-Ms" not in names
    assert "X-Lattice-Ttft-Ms" not in names
    assert "ttft" not in server_timing(Timing())


seconds = st.floats(0, 1e6)


@given(seconds, seconds, seconds)
def test_the_total_is_never_less_than_its_parts(resolve: float, queue: float, total: float) -> None:
    headers = dict(timing_headers(Timing(resolve, queue, total_s=total)))

    parts = sum(int(headers[f"X-Lattice-{part}-Ms"]) for part in ("Resolve", "Queue", "Upstream"))
    assert int(headers["X-Lattice-Total-Ms"]) >= parts


@given(any_text)
def test_any_text_can_be_encoded(text: str) -> None:
    assert json.loads(encode({"a": text})) == {"a": json.loads(json.dumps(text))}
    assert isinstance(json.loads(encode_text(text).decode()), str)
    assert b"\n" not in encode(text)


HIT, MISS = Prefill(117, 127, 117), Prefill(0, 127, 0, 12)


@pytest.mark.parametrize(
    ("prefills", "value"),
    [
        ([HIT], "hit=117/127"),
        ([MISS], "miss; first-difference=12"),
        ([HIT, MISS], "hit=117/127, miss; first-difference=12"),
        ([None, HIT], "hit=117/127"),  # of one that has not begun there is nothing to say
        ([None], None),
        ([Prefill(5, 127)], None),  # the cache is off
    ],
)
def test_the_cache_header_tells_hits_and_where_a_miss_began(
    prefills: list[Prefill | None], value: str | None
) -> None:
    assert cache_result(prefills) == value


def test_the_cache_header_of_many_prompts_stays_short() -> None:
    value = cache_result([Prefill(0, 10**6, 0, 10**6)] * 1000)

    assert value is not None
    assert len(value) <= 600
