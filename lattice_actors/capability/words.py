"""How names are compared: without case, and sizes as whole words. Pure."""

from __future__ import annotations

import re

_SIZE = re.compile(r"\d+(\.\d+)?(b|m|bit)")
_SHORT = 3  # characters; "phi" inside "dolphin" or "vl" inside "evlm" is an accident


def fold(text: str) -> str:
    """Return *text* as it is compared everywhere: without outer spaces and without case."""
    return text.strip().casefold()


def is_size(text: str) -> bool:
    """Return whether folded *text* is a size such as ``3b``, ``1.7b``, ``135m`` or ``4bit``."""
    return _SIZE.fullmatch(text) is not None


def has_word(text: str, name: str) -> bool:
    """Return whether *text* stands in *name* with no letter or digit on either side.

    A number goes on over its point: ``7b`` is no word of ``1.7b``. Both folded.
    """
    return any(
        _starts_word(start, name) and _ends_word(start + len(text), name)
        for start in _places(text, name)
    )


def closeness(text: str, name: str) -> int | None:
    """How well a preference *text* describes *name*, both folded: 0 is best, None is not at all.

    0 the very name, 1 a whole word, 2 the start of a word, 3 anywhere. Sizes need 1 (``3b`` is
    neither ``13b`` nor ``3bit``), texts of up to three characters need 2.
    """
    if not text or text not in name:
        return None
    if text == name:
        return 0
    if has_word(text, name):
        return 1
    if is_size(text):
        return None
    if any(_starts_word(start, name) for start in _places(text, name)):
        return 2
    return 3 if len(text) > _SHORT else None


def contains(text: str, name: str) -> bool:
    """Return whether *name* contains *text*, a size as a whole word. Both folded."""
    return bool(text) and text in name and (not is_size(text) or has_word(text, name))


def in_order(parts: tuple[str, ...], name: str) -> bool:
    """Return whether *name* contains all *parts*, each after the one before. Both folded."""
    at = 0
    for part in parts:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return bool(parts)


def _places(text: str, name: str) -> list[int]:
    places = []
    start = name.find(text) if text else -1
    while start >= 0:
        places.append(start)
        start = name.find(text, start + 1)
    return places


def _starts_word(start: int, name: str) -> bool:
    if start == 0:
        return True
    if name[start - 1] == "." and name[start].isdigit() and start > 1:
        return not name[start - 2].isdigit()
    return not name[start - 1].isalnum()


def _ends_word(end: int, name: str) -> bool:
    if end == len(name):
        return True
    if name[end] == "." and end + 1 < len(name) and name[end - 1].isdigit():
        return not name[end + 1].isdigit()
    return not name[end].isalnum()
