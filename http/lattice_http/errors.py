"""The one table from families of errors to statuses, and the one shape of an error body."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lattice_actors.errors import (
    ActorStopped,
    BadRequest,
    Busy,
    LatticeError,
    NotFound,
    QueueRefused,
    ShuttingDown,
    Unavailable,
    UpstreamFailed,
)
from lattice_actors.swarm.failure import SwarmFailed

from .json_bytes import encode

# Looked up along the class's MRO; what stands nowhere in it is a 500. The order is also the
# order of telling: of several failures at once, the first family here is what the client is told.
FAMILIES: dict[type[LatticeError], tuple[int, str]] = {
    BadRequest: (400, "invalid_request_error"),
    NotFound: (404, "invalid_request_error"),
    Busy: (429, "rate_limit_error"),
    UpstreamFailed: (502, "upstream_error"),
    Unavailable: (503, "service_unavailable_error"),
    ActorStopped: (503, "service_unavailable_error"),
    SwarmFailed: (502, "server_error"),
}
INTERNAL = (500, "server_error")

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "service_unavailable_error",
}  # of plain HTTP errors; the others are the client's: invalid_request_error

MAX_MESSAGE_CHARS = 4000  # messages may quote the request, and a request may be 10 MiB
MAX_RETRY_AFTER_S = 3600.0  # a longer prediction says nothing about the machine in an hour
DEFAULT_JITTER_S = 1.0  # so that clients refused together do not come back together


class ErrorAnswer(NamedTuple):
    """A whole answer; `headers` have no request id, which every answer gets elsewhere."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def family(error: BaseException) -> tuple[int, str]:
    """Return the status of *error* and its `type`."""
    for base in type(error).__mro__:
        if base in FAMILIES:
            status, kind = FAMILIES[base]
            # The four kinds of refusal that clients know are the type themselves.
            return status, error.code if isinstance(error, QueueRefused) else kind
    return INTERNAL


def error_object(error: BaseException, request_id: str = "") -> dict[str, Any]:
    """Return ``{"message", "type", "param", "code"}`` for a body or for a chunk of a stream.

    What is not meant for the client (a bug, the name of an actor) stays in the log, under the
    request id.
    """
    error = telling(error)
    status, kind = family(error)
    where = f" (request {request_id})" if request_id else ""
    if not isinstance(error, LatticeError):
        message, code, param = f"The server failed{where}.", LatticeError.code, None
    else:
        message, code, param = error.message, error.code, error.param
        if status == INTERNAL[0]:
            message = f"The server failed to answer{where}."
        elif isinstance(error, ActorStopped):
            message = f"A part of the server stopped before it could answer{where}; try again."
    return _object(message, kind, param, code)


def error_response(
    error: BaseException,
    request_id: str = "",
    *,
    jitter_s: float = DEFAULT_JITTER_S,
    beside: Mapping[str, Any] | None = None,
) -> ErrorAnswer:
    """Return the answer to a request that ended with *error*. Never raises.

    *beside* is more that the body says, after ``error``.
    """
    error = telling(error)
    status, kind = family(error)
    body: dict[str, Any] = {"error": error_object(error, request_id), **(beside or {})}
    headers = [("Content-Type", "application/json")]
    retry_s = retry_after_s(error)
    if retry_s is not None:
        headers.append(("Retry-After", str(retry_s)))
    if isinstance(error, ShuttingDown):
        headers.append(("Connection", "close"))
    if isinstance(error, Busy):
        jitter = _plain(jitter_s)
        headers.append(("X-MLX-Retry-Jitter-Sec", str(jitter)))
        body |= {
            "type": kind,
            "status": status,
            "retry": {
                "retry_after_sec": retry_s,
                "jitter_sec": jitter,
                "strategy": "exponential_backoff_with_jitter",
            },
        }
        if error.queue is not None:
            queue = error.queue
            headers.append(("X-MLX-Queue-Depth", str(queue.queued_for_model)))
            headers.append(("X-MLX-InFlight", str(queue.inflight_for_model)))
            body["queue"] = {
                "model": queue.model,
                "queued_for_model": queue.queued_for_model,
                "inflight_for_model": queue.inflight_for_model,
                "queued_total": queue.queued_total,
                "inflight_total": queue.inflight_total,
                "waited_ms": queue.waited_ms,
            }
    return ErrorAnswer(status, headers, encode(body))


def http_error(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> ErrorAnswer:
    """Return an answer that no actor is behind: 401, 404, 405, 413, 415, 500, ..."""
    body = {"error": _object(message, TYPES.get(status, "invalid_request_error"), param, code)}
    return ErrorAnswer(
        status, [("Content-Type", "application/json"), *(headers or [])], encode(body)
    )


def retry_after_s(error: BaseException) -> int | None:
    """Return whole seconds >= 1 after which to try again; None: that would be in vain."""
    match error:
        case Busy(retry_after_s=float() | int() as predicted) if math.isfinite(predicted):
            pass
        case Busy() | ActorStopped():
            predicted = 1.0  # nothing was measured, and a refusal without a time invites hammering
        case Unavailable(retry_after_s=float() | int() as predicted) if math.isfinite(predicted):
            pass
        case _:
            return None
    return max(1, math.ceil(min(predicted, MAX_RETRY_AFTER_S)))


def telling(error: BaseException) -> BaseException:
    """Return the one failure of an exception group that tells the client most.

    A typed error beats a bug that happened beside it; among typed ones the order of `FAMILIES`
    decides, then the order in the group. What is no group is returned as it is.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = list(_leaves(error))
    typed = [leaf for leaf in leaves if isinstance(leaf, LatticeError)]
    if typed:
        return min(typed, key=_rank)
    return next((leaf for leaf in leaves if isinstance(leaf, Exception)), leaves[0])


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for child in group.exceptions:
        if isinstance(child, BaseExceptionGroup):
            yield from _leaves(child)
        else:
            yield child


def _rank(error: LatticeError) -> int:
    order = list(FAMILIES)
    return next((order.index(base) for base in type(error).__mro__ if base in FAMILIES), len(order))


def _object(message: str, kind: str, param: str | None, code: str) -> dict[str, Any]:
    if len(message) > MAX_MESSAGE_CHARS:
        message = message[:MAX_MESSAGE_CHARS] + "…"
    return {"message": message, "type": kind, "param": param, "code": code}


def _plain(number: float) -> float | int:
    """Write 1.0 as 1, as clients know it."""
    return int(number) if number.is_integer() else number
