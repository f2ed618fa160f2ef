"""Frames, checked by reading them the way the standard tells clients to."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lattice_http import sse


def read(stream: bytes) -> list[tuple[str, str]]:
    """Parse *stream* as WHATWG HTML 9.2.6 says; return (name, data) of each event."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    events: list[tuple[str, str]] = []
    name, lines = "", list[str]()
    for line in text.split("\n"):
        if not line:
            if lines:
                events.append((name or "message", "\n".join(lines)))
            name, lines = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            lines.append(value)
        elif field == "event":
            name = value
    return events


lines = st.text(st.characters(exclude_categories=["Cs"]))


def unbroken(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(lines)
def test_data_arrives_as_one_event(text: str) -> None:
    expected = unbroken(text).removesuffix("\n")

    assert read(sse.data(text.encode())) == [("message", expected)]


@given(lines)
def test_a_named_event_keeps_its_name(text: str) -> None:
    expected = unbroken(text).removesuffix("\n")

    assert read(sse.event("branch", text.encode())) == [("branch", expected)]


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb"])
def test_a_name_that_would_break_the_frame_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of an event"):
        sse.event(name, b"{}")


@given(st.text(st.characters(exclude_categories=[])))
@example("a\rdata: b\r\r")
@example("a\ndata: b\n\n")
@example("a\r\ndata: b")
def test_no_comment_ever_becomes_an_event(text: str) -> None:
    frame = sse.comment(text)

    assert frame.startswith(b": ")
    assert frame.endswith(b"\n\n")
    assert read(frame) == []
    assert read(frame + sse.data(b"x")) == [("message", "x")]


def test_frames_as_clients_have_always_seen_them() -> None:
    assert sse.data(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert sse.comment("queued 3, ~12 s") == b": queued 3, ~12 s\n\n"
    assert sse.event("error", b"{}") == b"event: error\ndata: {}\n\n"
