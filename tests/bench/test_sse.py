"""The event parser: what it returns does not depend on where the bytes were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_bench.sse import MAX_EVENT_BYTES, BadEventStream, EventStream

# Not all three in one stream: a CR before an LF would be one line end.
LINE_ENDS = st.sampled_from([(b"\n", b"\r\n"), (b"\r", b"\r\n")])
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8)
DATA = st.lists(TEXT, min_size=1, max_size=3)
NAME = st.sampled_from(["", "branch", "verdict"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, bytes]], int]:
    """Return bytes, the events they mean, and how many comments are among them."""
    data, events, comments = b"", [], 0
    line_ends = st.sampled_from(draw(LINE_ENDS))
    for name, texts in draw(st.lists(st.tuples(NAME, DATA), max_size=4)):
        lines = [f"event: {name}".encode()] if name else []
        lines += [f"data: {text}".encode() for text in texts]
        if draw(st.booleans()):
            lines.insert(0, b": keep-alive")
            comments += 1
        for line in [*lines, b""]:
            data += line + draw(line_ends)
        events.append((name.encode() or b"message", "\n".join(texts).encode()))
    return data, events, comments


@given(streams(), st.data())
def test_events_do_not_depend_on_the_cuts(
    stream: tuple[bytes, list[tuple[bytes, bytes]], int], data: st.DataObject
) -> None:
    raw, events, comments = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    parser = EventStream()

    got = [
        event
        for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)
        for event in parser.feed(raw[begin:end])
    ]

    assert got == events
    assert parser.comments == comments


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_every_single_split_gives_the_same(line_end: bytes) -> None:
    raw = line_end.join(
        [b": hi", b"event:x", b"data:a", b"data:  b", b"data", b"", b"data: c", b"", b""]
    )

    for cut in range(len(raw) + 1):
        parser = EventStream()
        got = parser.feed(raw[:cut]) + parser.feed(raw[cut:])

        assert got == [(b"x", b"a\n b\n"), (b"message", b"c")], cut


def test_an_event_without_data_is_none_and_forgets_its_name() -> None:
    assert EventStream().feed(b"event: x\n\ndata: a\n\n") == [(b"message", b"a")]


def test_an_unfinished_event_is_not_returned() -> None:
    assert EventStream().feed(b"data: a\n") == []


@pytest.mark.parametrize("lines", [b"x" * 65536, b"data: " + b"x" * 65536 + b"\n"])
def test_an_endless_event_is_refused(lines: bytes) -> None:
    parser = EventStream()
    for _ in range(MAX_EVENT_BYTES // len(lines)):
        parser.feed(lines)

    with pytest.raises(BadEventStream):
        parser.feed(lines)
