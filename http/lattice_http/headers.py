"""What we say in response headers, so that nothing in a value can break the response."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import attrs

from lattice_actors.generation import Prefill

MOST_CACHE_ITEMS = 16  # of X-Lattice-Cache, for a request of many prompts
MAX_VALUE_CHARS = 512  # proxies cap all headers together at 8 KiB or less

ROUTED_TO = {"lmstudio": "local"}  # its name in Local Lattice

# Everything printable in ASCII but "%", so that `urllib.parse.unquote` gives the text back.
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def header_value(text: str, limit: int = MAX_VALUE_CHARS) -> str:
    """Return *text* as a header value: percent-encoded UTF-8 where it is not printable ASCII.

    At most *limit* characters (an escape is never cut in two), and no space at either end,
    which HTTP would drop or refuse.
    """
    cut = text[:limit]  # an escape is never shorter than its character
    value = quote(cut, safe=_SAFE, errors="replace")
    if len(value) > limit:
        value = value[:limit]
        if "%" in value[-2:]:
            value = value[: value.rindex("%")]
    inner = value.strip(" ")
    if inner == value:
        return value
    # At the ends a space is written out where there is room, else dropped.
    lead = len(value) - len(value.lstrip(" "))
    spaced = "%20" * lead + inner + "%20" * (len(value) - lead - len(inner))
    return spaced if len(spaced) <= limit else inner


def routed_to(backend: str, model: str) -> str:
    """Return the value of ``X-Model-Routed-To``: ``mlx/SmolLM2-135M-Instruct``.

    An upstream's id begins with its name already; LM Studio's is ``local``, as it always was.
    """
    if model.startswith(f"{backend}/"):
        model = model.removeprefix(f"{backend}/")
        backend = ROUTED_TO.get(backend, backend)
    return header_value(f"{backend}/{model}")


def ignored_params(names: Iterable[str], limit: int = MAX_VALUE_CHARS) -> str:
    """Return the value of ``X-Lattice-Ignored-Params``: names between commas.

    A comma inside a name is encoded. What does not fit is counted: ``a, b, +12``.
    """
    encoded = [header_value(name, 64).replace(",", "%2C") or '""' for name in names]
    value = ", ".join(encoded)
    shown = len(encoded)
    while len(value) > limit:
        shown = min(shown - 1, limit // 2)
        value = ", ".join([*encoded[:shown], f"+{len(encoded) - shown}"])
    return value


def cache_result(prefills: Iterable[Prefill | None]) -> str | None:
    """Return the value of ``X-Lattice-Cache``, one item for each prompt; None: nothing to say.

    ``hit=117/127``: so many of the prompt's tokens were in the prefix cache.
    ``miss; first-difference=12``: none was used; the token with this index, counted from 0, is
    the first that differs from all that was kept.
    """
    known = [prefill for prefill in prefills if prefill is not None and prefill.cached is not None]
    items = [
        f"hit={prefill.cached}/{prefill.total}"
        if prefill.cached
        else f"miss; first-difference={prefill.differs_at}"
        for prefill in known
    ]
    return ", ".join(items[:MOST_CACHE_ITEMS]) or None


@attrs.frozen
class Timing:
    """Where the time of one request went, seconds since its first byte arrived."""

    resolve_s: float = 0.0  # finding the model
    queue_s: float = 0.0  # waiting for the grant; a load is part of it
    load_s: float = 0.0  # of that, waiting for a load
    ttft_s: float | None = None  # arrival to first token; None: none yet
    total_s: float = 0.0  # arrival to now: the first token of a stream, the end of an answer

    @property
    def upstream_s(self) -> float:
        """What the model took: all that is neither resolving nor waiting."""
        return max(0.0, self.total_s - self.resolve_s - self.queue_s)


def timing_headers(timing: Timing) -> list[tuple[str, str]]:
    """Return the headers of times, their old names where not zero, and ``Server-Timing``."""
    ms = _milliseconds(timing)
    headers = [
        ("X-Lattice-Resolve-Ms", str(ms["resolve"])),
        ("X-Lattice-Queue-Ms", str(ms["queue"])),
        ("X-Lattice-Load-Ms", str(ms["load"])),
        ("X-Lattice-Upstream-Ms", str(ms["upstream"])),
    ]
    if "ttft" in ms:
        headers.append(("X-Lattice-Ttft-Ms", str(ms["ttft"])))
    headers.append(("X-Lattice-Total-Ms", str(ms["total"])))
    if ms["upstream"]:
        headers.append(("X-MLX-Latency-Ms", str(ms["upstream"])))
    if ms["queue"]:
        headers.append(("X-MLX-Queue-Wait-Ms", str(ms["queue"])))
    headers.append(("Server-Timing", server_timing(timing)))
    return headers


def server_timing(timing: Timing) -> str:
    """Return the value of ``Server-Timing``, milliseconds (W3C Server Timing)."""
    parts = [
        ("resolve", timing.resolve_s),
        ("queue", timing.queue_s),
        ("load", timing.load_s),
        ("upstream", timing.upstream_s),
        ("total", timing.total_s),
    ]
    if timing.ttft_s is not None:
        parts.insert(4, ("ttft", timing.ttft_s))
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in parts)


def timing_text(timing: Timing) -> str:
    """Return ``resolve_ms=0 queue_ms=3 ...``, for a log line or the last comment of a stream."""
    return " ".join(f"{name}_ms={value}" for name, value in _milliseconds(timing).items())


def _milliseconds(timing: Timing) -> dict[str, int]:
    """Whole milliseconds, rounded down, so that the parts never sum to more than the total."""
    ms = {
        "resolve": int(timing.resolve_s * 1000),
        "queue": int(timing.queue_s * 1000),
        "load": int(timing.load_s * 1000),
        "upstream": int(timing.upstream_s * 1000),
    }
    if timing.ttft_s is not None:
        ms["ttft"] = int(timing.ttft_s * 1000)
    # A caller that took `total` a moment early must not show parts that exceed it.
    ms["total"] = max(int(timing.total_s * 1000), ms["resolve"] + ms["queue"] + ms["upstream"])
    return ms
