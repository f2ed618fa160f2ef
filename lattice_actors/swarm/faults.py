"""What went wrong with a branch, in one word that clients know. Pure.

Errors of our own are told apart by their type. Only the text of another server is searched for
words, in the order that the predecessor used: connection, timeout, nothing to answer with,
configuration, memory, crash, status.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from lattice_actors.capability.question import NoRoute
from lattice_actors.errors import (
    ActorStopped,
    BadRequest,
    Busy,
    LatticeError,
    ModelCrashed,
    ModelNotFound,
    ModelQuarantined,
    OutOfMemory,
    RequestCancelled,
    RequestCrashesEngine,
    Unavailable,
)
from lattice_actors.residency.oom import says_oom

KINDS = (
    "no_models_loaded",
    "model_not_resolved",
    "oom",
    "model_crashed",
    "empty_response",
    "timeout",
    "connection_error",
    "upstream_4xx",
    "upstream_5xx",
    "config_error",
    "anthropic_error",
    "litellm_error",
    "unknown",
    # Not known to clients of the predecessor, who take them for "unknown":
    "queue_rejected",
    "model_unavailable",
    "invalid_request",
    "cancelled",
)

# Looked up along the class's MRO.
_BY_TYPE: dict[type[LatticeError], str] = {
    RequestCancelled: "cancelled",
    RequestCrashesEngine: "model_crashed",
    BadRequest: "invalid_request",
    ModelNotFound: "model_not_resolved",
    Busy: "queue_rejected",
    ModelCrashed: "model_crashed",
    ModelQuarantined: "model_crashed",
    OutOfMemory: "oom",
    Unavailable: "model_unavailable",
    ActorStopped: "model_unavailable",
}

_STATUS = re.compile(r"^(?:[\w .-]{1,40}? (\d{3}): ?)|endpoint returned (\d{3})\b")


def _words(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.IGNORECASE).search


_BY_WORDS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("connection_error", _words(r"connection|connect error|unreachable|name resolution")),
    ("timeout", _words(r"timed? ?out")),
    ("no_models_loaded", _words(r"no models? (?:is |are )?loaded")),
    ("model_not_resolved", _words(r"model .{0,200}not found|not present|no model match")),
    ("config_error", _words(r"not configured|api[ _]key|configuration")),
    ("oom", says_oom),
    ("model_crashed", _words(r"crash|exited unexpectedly|terminated")),
)


@attrs.frozen
class Fault:
    """Why a branch has no answer."""

    kind: str  # one of `KINDS`
    message: str
    http_status: int | None = None
    detail: str | None = None  # the message without the name and status of a server


def fault_of(error: LatticeError, *, foreign: bool = False) -> Fault:
    """Return what *error* means. *foreign*: it quotes a server that is not ours."""
    if error.code in KINDS:
        kind = error.code
    else:
        kind = next((_BY_TYPE[base] for base in type(error).__mro__ if base in _BY_TYPE), "unknown")
    if foreign and kind in ("unknown", "model_unavailable"):
        return fault_of_text(error.message)
    return Fault(kind, error.message, detail=error.message)


def fault_of_miss(miss: NoRoute) -> Fault:
    """Return what it means that no model may answer."""
    unavailable = miss.code == "model_unavailable"
    kind = "model_unavailable" if unavailable else "model_not_resolved"
    return Fault(kind, miss.message, detail=miss.message)


def fault_of_text(text: str) -> Fault:
    """Return what another server's error text means."""
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else None
    detail = text[found.end() :] if found and found[1] else text
    kind = next((kind for kind, says in _BY_WORDS if says(detail)), None)
    if kind is None and status is not None and 400 <= status < 600:
        kind = "upstream_4xx" if status < 500 else "upstream_5xx"
    return Fault(kind or "unknown", text, status, detail)


def empty_answer(reasoned: bool, *, cut: bool) -> Fault:
    """Return what an answer without text is. *cut*: it ended at its ``max_tokens``."""
    message = "the model answered with an empty text"
    if reasoned:
        message += "; all it produced is reasoning_content"
    if cut:
        message += "; a larger max_tokens may help"
    return Fault("empty_response", message, detail=message)
