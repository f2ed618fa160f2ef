"""What a caller wishes about waiting and placement: the ``queue`` object and its headers.

The body wins over a header. Nonsense is refused, never ignored. Settings clamp the priority
and supply the defaults later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, Protocol, cast

import attrs
import msgspec

from .bodies import INT64_MAX, INT64_MIN, wrong

RELATIVE_LIMIT_MS = 3_000_000_000  # a deadline up to here is a duration; beyond it is Unix time

Class = Literal["interactive", "normal", "batch"]
Locality = Literal["local-only", "prefer-local", "any"]

_CLASSES = ("interactive", "normal", "batch")
_LOCALITIES = ("local-only", "prefer-local", "any")
_OFF = ("off", "0", "false", "no")
_SWITCH = ("on", "1", "true", "yes", *_OFF)
_TIERS = ("fast", "medium", "slow")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")


class Headers(Protocol):
    """Request headers: a mapping, or a multidict whose first value wins."""

    def items(self) -> Iterable[tuple[str, str]]: ...


class QueueBody(msgspec.Struct, frozen=True):
    """The ``queue`` object of a body. Integers may be strings."""

    priority: int | str | None = None
    max_queue_wait_ms: int | str | None = None
    deadline_ms: int | str | None = None


@attrs.frozen
class Wishes:
    """None: no wish; the settings decide."""

    klass: Class | None = None
    priority: int | None = None  # higher first; not clamped yet
    max_wait_s: float | None = None  # >= 0; 0: now or never
    deadline_s: float | None = None  # after arrival; 0: over before it arrived
    latency_tier: Literal["fast"] | None = None
    locality: Locality | None = None
    auto_route: bool = True  # the cloud may be chosen for a request that names no model


def read_wishes(queue: QueueBody | None, headers: Headers, unix_now: float) -> Wishes:
    """Return the wishes of one request that arrived at *unix_now* (Unix time, seconds).

    Raises:
        BadRequest: a value makes no sense; `param` is the field or the header.
    """
    given: dict[str, str] = {}
    for name, text in headers.items():
        if text.strip():
            given.setdefault(name.lower(), text.strip())
    body = queue or QueueBody()

    klass, header_priority = _priority_header(given)
    if body.priority is not None:
        priority: int | None = _whole(body.priority, "queue.priority")
    else:
        priority = header_priority
        if priority is None:
            priority = _from_header(given, "X-MLX-Priority")

    wait_ms = (
        _whole(body.max_queue_wait_ms, "queue.max_queue_wait_ms", least=0)
        if body.max_queue_wait_ms is not None
        else _from_header(given, "X-MLX-Max-Queue-Wait-Ms", least=0)
    )
    return Wishes(
        klass=klass,
        priority=priority,
        max_wait_s=None if wait_ms is None else wait_ms / 1000,
        deadline_s=_deadline_s(body, given, unix_now),
        latency_tier="fast" if _word(given, "X-MLX-Latency-Tier", _TIERS) == "fast" else None,
        locality=cast("Locality | None", _word(given, "X-Lattice-Locality", _LOCALITIES)),
        auto_route=_word(given, "X-Lattice-Auto-Route", _SWITCH) not in _OFF,
    )


def _priority_header(given: dict[str, str]) -> tuple[Class | None, int | None]:
    """``X-Lattice-Priority`` is the name of a class or a number."""
    name = "X-Lattice-Priority"
    text = given.get(name.lower())
    if text is None:
        return None, None
    if text.lower() in _CLASSES:
        return cast("Class", text.lower()), None
    if _WHOLE.fullmatch(text):
        return None, _whole(text, name)
    raise wrong(name, f"expected an integer or one of {', '.join(_CLASSES)}")


def _deadline_s(body: QueueBody, given: dict[str, str], unix_now: float) -> float | None:
    if body.deadline_ms is not None:
        ms: int | None = _whole(body.deadline_ms, "queue.deadline_ms", least=1)
    else:
        ms = _from_header(given, "X-Lattice-Deadline-Ms", least=1)
        if ms is None:
            ms = _from_header(given, "X-MLX-Deadline-Ms", least=1)
    if ms is None:
        return None
    if ms <= RELATIVE_LIMIT_MS:
        return ms / 1000
    return max(0.0, ms / 1000 - unix_now)


def _from_header(given: dict[str, str], name: str, least: int = INT64_MIN) -> int | None:
    text = given.get(name.lower())
    return None if text is None else _whole(text, name, least=least)


def _whole(value: int | str, where: str, *, least: int = INT64_MIN) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.fullmatch(text):
            raise wrong(where, "expected an integer")
        value = int(text)
    if value < least:
        raise wrong(where, f"expected an integer >= {least}")
    if not INT64_MIN <= value <= INT64_MAX:
        raise wrong(where, "expected a 64-bit integer")
    return value


def _word(given: dict[str, str], name: str, words: tuple[str, ...]) -> str | None:
    text = given.get(name.lower())
    if text is None:
        return None
    if text.lower() not in words:
        raise wrong(name, f"expected one of {', '.join(words)}")
    return text.lower()
