"""Texts of others, cut to what a model has room for. Pure.

Tokens are not known here; `BYTES_PER_TOKEN` is on the safe side of what tokenizers make of
prose, and the engine checks the exact number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

BYTES_PER_TOKEN = 2.5
TEMPLATE_TOKENS = 64  # roles and separators of a chat template
LEAST_BYTES = 64  # of one text: fewer say nothing
CUT = " [...]"


def room_bytes(context_tokens: int, answer_tokens: int, others: Sequence[Mapping[str, Any]]) -> int:
    """Return how many bytes of text fit beside an answer and the messages *others*."""
    prompt = context_tokens - answer_tokens - TEMPLATE_TOKENS
    return max(0, int(prompt * BYTES_PER_TOKEN) - sum(map(size_bytes, others)))


def size_bytes(message: Mapping[str, Any]) -> int:
    """Return how long a message is, whatever it is made of."""
    content = message.get("content")
    if isinstance(content, str):
        return len(content.encode())
    return len(msgspec.json.encode(content))


def shorten(texts: Sequence[str], room: int) -> tuple[list[str], int]:
    """Return *texts* cut so that all fit into *room* bytes, and how many were cut.

    Short ones stay whole, long ones get equal shares; none gets less than `LEAST_BYTES`.
    """
    most = _share([len(text.encode()) for text in texts], max(0, room))
    cut = [_cut(text, most) for text in texts]
    return cut, sum(before != after for before, after in zip(texts, cut, strict=True))


def _share(sizes: Sequence[int], room: int) -> int:
    """Return the largest length that all may have, so that their sum is at most *room*."""
    if sum(sizes) <= room:
        return max(sizes, default=0)
    left = room
    for index, size in enumerate(ordered := sorted(sizes)):
        share = left // (len(ordered) - index)
        if size > share:
            return max(LEAST_BYTES, share)
        left -= size
    return max(ordered)


def _cut(text: str, most: int) -> str:
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return encoded[: max(0, most - len(CUT))].decode(errors="ignore") + CUT
