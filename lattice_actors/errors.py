"""Every error a caller of an actor can meet, in families named after what the caller can do.

`http/lattice_http/errors.py` has the one table from family to status; nothing here knows a
status code. `code` is the stable machine-readable name, `param` the field of the request that
is to blame (``messages[0].content``), where there is one.
"""

from __future__ import annotations

import attrs


class LatticeError(Exception):
    """Base of all of them; never raised itself."""

    code = "internal_error"
    param: str | None = None

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if param is not None:
            self.param = param


# --- the request is wrong: send another one -------------------------------------------------


class BadRequest(LatticeError):
    """The request can never succeed as it is; `param` names the field."""

    code = "invalid_request"


class RequestCancelled(BadRequest):
    """An operator ended it. Not an outage: clients would send it again by themselves."""

    code = "request_cancelled"


class NotFound(LatticeError):
    """What the request names does not exist here."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No model answers to the spec; the message lists those that exist."""

    code = "model_not_found"


# --- no room now: try again -----------------------------------------------------------------


@attrs.frozen
class QueueFacts:
    """What a refused caller is told about the queue it met, as Local Lattice does."""

    model: str
    queued_for_model: int
    inflight_for_model: int
    queued_total: int
    inflight_total: int
    waited_ms: int = 0


class Busy(LatticeError):
    """Nothing is broken, there is no room now: the caller may try again in `retry_after_s`."""

    code = "overloaded"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
        queue: QueueFacts | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s
        self.queue = queue


class MailboxFull(Busy):
    """The actor has more unread asks than it accepts."""

    code = "mailbox_full"


class QueueRefused(Busy):
    """Admission turned the request away. `code` is one of the four types of Local Lattice:

    ``queue_overloaded_model``, ``queue_overloaded_total``, ``queue_timeout``,
    ``deadline_exceeded``.
    """

    code = "queue_overloaded_total"


class UpstreamBusy(Busy):
    """The upstream takes no more now. *elsewhere*: the request may be given to another model."""

    code = "upstream_overloaded"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(message, code=code, retry_after_s=retry_after_s)
        self.elsewhere = elsewhere


# --- the model cannot answer now: try later, or another model -------------------------------


class Unavailable(LatticeError):
    """What would answer is broken or going away; `retry_after_s` is None when waiting is vain."""

    code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class LoadFailed(Unavailable):
    """The model did not load. Broken files have no `retry_after_s`; other causes cool down."""

    code = "model_load_failed"


class CannotFit(Unavailable):
    """The model is larger than everything that could be freed for it."""

    code = "model_does_not_fit"


class ModelQuarantined(Unavailable):
    """The model's engine crashed too often; it is tried again by itself after `retry_after_s`."""

    code = "model_quarantined"


class ModelCrashed(Unavailable):
    """The engine died in the middle of the answer."""

    code = "model_crashed"


class EngineFault(LatticeError):
    """One answer failed inside the engine; its neighbours and the engine did not."""

    code = "generation_failed"


class RequestCrashesEngine(BadRequest):
    """The request was alone in the engine when it crashed: it is not tried again."""

    code = "request_crashes_engine"


class OutOfMemory(Unavailable):
    """The engine ran out of memory; the budget has been lowered, the model may come back."""

    code = "oom"


class ShuttingDown(Unavailable):
    """The server is going away."""

    code = "server_shutting_down"


class UpstreamFailed(LatticeError):
    """Another server failed to answer. *elsewhere*: the request may be given to another model."""

    code = "upstream_failed"

    def __init__(self, message: str, *, code: str | None = None, elsewhere: bool = False) -> None:
        super().__init__(message, code=code)
        self.elsewhere = elsewhere


# --- the program itself ----------------------------------------------------------------------


class ActorStopped(LatticeError):
    """The actor ended before it answered."""

    code = "actor_stopped"


class ActorRestarted(ActorStopped):
    """The incarnation that had read the ask died; its successor takes new ones.

    Handles whose asks may be repeated ask again and do not let this one through.
    """

    code = "actor_restarted"


class GaveUp(LatticeError):
    """A child crashed more often than its restart policy allows; its supervisor goes down too."""

    code = "restart_intensity"
