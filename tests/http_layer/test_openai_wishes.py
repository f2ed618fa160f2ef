"""Priority, waits, deadlines and placement, from the body or from headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_http.openai.chat import ChatRequest, parse_chat
from lattice_http.openai.wishes import Wishes

NOW = 1_800_000_000.0  # Unix time, seconds
HELLO = [{"role": "user", "content": "Hello"}]


def chat(headers: dict[str, str], **fields: object) -> ChatRequest:
    return parse_chat(json.dumps({"messages": HELLO, **fields}).encode(), headers, NOW)


@pytest.mark.parametrize(
    ("headers", "queue", "wishes"),
    [
        ({"X-Lattice-Priority": "Batch"}, None, Wishes(klass="batch")),
        ({"X-Lattice-Priority": "-3"}, None, Wishes(priority=-3)),
        ({"X-Lattice-Priority": "4", "X-MLX-Priority": "5"}, None, Wishes(priority=4)),
        (
            {"X-Lattice-Priority": "interactive", "X-MLX-Priority": "5"},
            None,
            Wishes(klass="interactive", priority=5),
        ),
        ({"x-mlx-priority": " 5 "}, {"priority": "7"}, Wishes(priority=7)),
        ({"X-MLX-Priority": "5"}, {"priority": 0}, Wishes(priority=0)),
        ({"X-MLX-Max-Queue-Wait-Ms": "1500"}, None, Wishes(max_wait_s=1.5)),
        ({"X-MLX-Max-Queue-Wait-Ms": "1500"}, {"max_queue_wait_ms": 0}, Wishes(max_wait_s=0.0)),
        ({"X-MLX-Deadline-Ms": "2000"}, None, Wishes(deadline_s=2.0)),
        (
            {"X-MLX-Deadline-Ms": "2000", "X-Lattice-Deadline-Ms": "1000"},
            None,
            Wishes(deadline_s=1.0),
        ),
        ({"X-Lattice-Deadline-Ms": "1000"}, {"deadline_ms": "500"}, Wishes(deadline_s=0.5)),
        ({}, {"deadline_ms": 3_000_000_000}, Wishes(deadline_s=3_000_000.0)),
        ({}, {"deadline_ms": 1_800_000_012_500}, Wishes(deadline_s=12.5)),
        ({}, {"deadline_ms": 3_000_000_001}, Wishes(deadline_s=0.0)),
        ({"X-MLX-Latency-Tier": "FAST"}, None, Wishes(latency_tier="fast")),
        ({"X-MLX-Latency-Tier": "slow"}, None, Wishes()),
        ({"X-Lattice-Locality": "Local-Only"}, None, Wishes(locality="local-only")),
        ({"X-MLX-Priority": "  "}, {}, Wishes()),
    ],
    ids=str,
)
def test_wishes(headers: dict[str, str], queue: dict[str, Any] | None, wishes: Wishes) -> None:
    assert chat(headers, queue=queue).wishes == wishes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("X-Lattice-Priority", "urgent"),
        ("X-Lattice-Priority", "9" * 5000),
        ("X-MLX-Priority", "1.5"),
        ("X-MLX-Priority", "٣"),
        ("X-MLX-Max-Queue-Wait-Ms", "-1"),
        ("X-MLX-Max-Queue-Wait-Ms", "soon"),
        ("X-MLX-Deadline-Ms", "0"),
        ("X-Lattice-Deadline-Ms", "-5"),
        ("X-MLX-Latency-Tier", "warp"),
        ("X-Lattice-Locality", "moon"),
    ],
)
def test_a_wrong_header_is_named(name: str, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat({name.upper(): text})

    assert caught.value.param == name


@given(
    st.dictionaries(
        st.sampled_from(["X-Lattice-Priority", "X-MLX-Deadline-Ms", "X-Lattice-Locality"]),
        st.text() | st.integers().map(str),
        min_size=1,
    )
)
def test_any_header_gives_a_request_or_names_it(headers: dict[str, str]) -> None:
    try:
        chat(headers)
    except BadRequest as error:
        blamed = error.param
    else:
        blamed = None

    assert blamed is None or blamed in headers
