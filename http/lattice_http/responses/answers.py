"""The response object, and the frames of a streamed one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs

from lattice_actors.generation import Delta, FinishReason, JsonObject, Usage
from lattice_http import sse
from lattice_http.json_bytes import encode

from .output import Event, Output

# Clients know these codes and no others.
_CODES = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}


def new_response_id() -> str:
    """Return ``resp_<hex>``."""
    return f"resp_{uuid.uuid4().hex}"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


@attrs.define
class Answer:
    """One response in the making, as it is told in the body or in the events of a stream."""

    response_id: str
    created: int  # Unix time
    model: str
    echo: JsonObject  # what only repeats the request
    output: Output
    reason: FinishReason | None = None

    def add(self, deltas: Sequence[Delta], reason: FinishReason) -> None:
        """Take a whole answer."""
        for delta in deltas:
            list(self.output.add(delta))
        list(self.end(reason))

    def end(self, reason: FinishReason) -> list[Event]:
        """Note why it ended; return what is to be told of that."""
        self.reason = reason
        return list(self.output.end(cut=self._cut))

    @property
    def _cut(self) -> bool:
        """It ended before the model would have ended it."""
        return self.reason in (FinishReason.LENGTH, FinishReason.CANCELLED)

    @property
    def status(self) -> str:
        """The word for how far it is."""
        if self.reason is None:
            return "in_progress"
        return "incomplete" if self._cut else "completed"

    def object(self, usage: Usage | None = None, *, ended: int | None = None) -> dict[str, Any]:
        """Return the ``response`` object; *ended* is Unix time."""
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self.created,
            "completed_at": ended if self.status == "completed" else None,
            "status": self.status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if self._cut else None,
            "model": self.model,
            "output": [] if self.reason is None else self.output.items,
            **self.echo,
            "usage": None if usage is None else usage_object(usage),
        }


@attrs.define(eq=False)
class ResponseFrames:
    """The events of one streamed response, each with its number.

    *ended* gets the finished object, to be kept; *clock* is Unix time.
    """

    last: ClassVar[bytes] = b""

    answer: Answer
    _keep: Callable[[dict[str, Any]], None]
    _clock: Callable[[], float]
    _number: int = attrs.field(init=False, default=0)  # of the next event

    def start(self, usage: Usage) -> bytes:
        """Return the first events."""
        begun = {"response": self.answer.object()}
        return self._event("response.created", begun) + self._event("response.in_progress", begun)

    def delta(self, delta: Delta, index: int = 0) -> bytes:
        """Return the next piece of the answer."""
        return b"".join(map(self._of, self.answer.output.add(delta)))

    def finish(self, reason: FinishReason, index: int = 0, stop: str = "") -> bytes:
        """Return the end of the open item."""
        return b"".join(map(self._of, self.answer.end(reason)))

    def alive(self, text: str) -> bytes:
        """Return a comment, which clients skip."""
        return sse.comment(text)

    def ended(self, usage: Usage, timing: str) -> bytes:
        """Return the last event."""
        whole = self.answer.object(usage, ended=int(self._clock()))
        self._keep(whole)
        return sse.comment(timing) + self._event(
            f"response.{self.answer.status}", {"response": whole}
        )

    def error(self, error: dict[str, Any]) -> bytes:
        """Return the last events of a stream that failed: how clients of either habit are told."""
        code = _CODES.get(error["type"], "server_error")
        failed = self.answer.object() | {
            "status": "failed",
            "error": {"code": code, "message": error["message"]},
        }
        said = {name: error[name] for name in ("code", "message", "param")}
        return self._event("error", said) + self._event("response.failed", {"response": failed})

    def _of(self, event: Event) -> bytes:
        name, fields = event
        return self._event(f"response.{name}", fields)

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse.event(name, encode({"type": name, "sequence_number": number, **fields}))
