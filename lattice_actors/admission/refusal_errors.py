"""What a refused caller meets. Pure."""

from __future__ import annotations

from lattice_actors.errors import (
    BadRequest,
    LatticeError,
    LoadFailed,
    ModelNotFound,
    ModelQuarantined,
    OutOfMemory,
    QueueRefused,
)

from .verdicts import K, Refused

_QUEUE_CODES = frozenset(
    {"queue_overloaded_model", "queue_overloaded_total", "queue_timeout", "deadline_exceeded"}
)


def error_of(refused: Refused[K]) -> LatticeError:
    """Return a refusal as an error, typed by what the caller can do about it."""
    after = refused.retry_after_s
    if refused.permanent:
        param = "max_tokens" if refused.code == "request_too_large" else "models"
        return BadRequest(refused.message, code=refused.code, param=param)
    if refused.code in _QUEUE_CODES:
        return QueueRefused(
            refused.message, code=refused.code, retry_after_s=after, queue=refused.facts
        )
    if refused.code == OutOfMemory.code:
        return OutOfMemory(refused.message, retry_after_s=after)
    if refused.code == "model_quarantined":
        return ModelQuarantined(refused.message, retry_after_s=after)
    if refused.code == "model_not_found":
        return ModelNotFound(refused.message, param="model")
    return LoadFailed(refused.message, code=refused.code, retry_after_s=after)
