"""JSON for everything that leaves by HTTP. Encoding text never fails."""

from __future__ import annotations

import json

import msgspec

_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """Return *value* as JSON on one line."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; JSON can still write it as an escape. Seen with file
        # names and with text that was cut between the halves of a pair.
        return json.dumps(value, separators=(",", ":")).encode()


def encode_text(text: str) -> bytes:
    """Return *text* as a JSON string that every parser takes: lone surrogates become U+FFFD."""
    try:
        return _encoder.encode(text)
    except UnicodeEncodeError:
        return _encoder.encode(well_formed(text))


def well_formed(text: str) -> str:
    """Return *text* with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
