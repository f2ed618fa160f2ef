"""The framing of server-sent events (WHATWG HTML, section 9.2.5). Bytes in, bytes out."""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream"
STREAM_HEADERS = {
    "Content-Type": f"{CONTENT_TYPE}; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold the tokens back
}
DONE = b"data: [DONE]\n\n"  # how OpenAI streams end, after an error too


def data(payload: bytes) -> bytes:
    """Frame *payload* as one event without a name."""
    if b"\n" in payload or b"\r" in payload:  # a bare line break would end the event early
        payload = b"\ndata: ".join(payload.splitlines())
    return b"data: " + payload + b"\n\n"


def event(name: str, payload: bytes) -> bytes:
    """Frame *payload* as one event called *name*; names are ours, never a caller's.

    Raises:
        ValueError: the name is empty or has a line break.
    """
    if not name or "\n" in name or "\r" in name:
        raise ValueError(f"not the name of an event: {name!r}")
    return b"event: " + name.encode() + b"\n" + data(payload)


def comment(text: str) -> bytes:
    """Frame *text* as a comment, which clients skip: it keeps a silent connection alive.

    Line breaks become spaces, so that nothing in *text* can begin an event.
    """
    line = text.replace("\r", " ").replace("\n", " ")
    return b": " + line.encode("utf-8", "replace") + b"\n\n"
