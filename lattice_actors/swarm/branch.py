"""One answer inside a swarm, from its ticket to its row."""

from __future__ import annotations

import math

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.generation import Delta, Finish, FinishReason, Usage

from .events import Row
from .faults import Fault, empty_answer, fault_of_miss

LOST = Fault("cancelled", "the outcome was clear without it")
BY_OPERATOR = Fault("cancelled", "it was stopped from outside")


@attrs.define(eq=False)
class Branch:
    """Who is asked, and what has come of it so far. Its scope ends it and nothing else."""

    number: int
    agent_id: str  # the spec as sent
    route: Route
    ticket: Ticket
    stage: str = ""
    later: bool = False  # its ticket is not eligible before it runs
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    started: float = math.nan  # Trio seconds
    finish: Finish | None = None
    fault: Fault | None = None
    _text: list[str] = attrs.field(init=False, factory=list[str])
    _reasoning: list[str] = attrs.field(init=False, factory=list[str])

    @property
    def text(self) -> str:
        """What has come."""
        return "".join(self._text)

    def take(self, delta: Delta) -> None:
        """Add the next piece."""
        self._text.append(delta.text)
        self._reasoning.append(delta.reasoning)

    def stop(self, why: Fault) -> None:
        """End it; its row says *why* it was stopped first."""
        self.fault = self.fault or why
        self.scope.cancel(reason=why.message)

    def row(self, now: float) -> Row:
        """Return what is said of it when it is over."""
        text, reasoning = self.text, "".join(self._reasoning)
        fault, finish = self.fault, self.finish
        if fault is None and finish is None:
            fault = Fault("timeout", f"no answer within {now - self.started:.3g} s")
        if fault is None and not text.strip():
            cut = finish is not None and finish.reason is FinishReason.LENGTH
            fault = empty_answer(bool(reasoning.strip()), cut=cut)
        row = Row(
            branch=self.number,
            agent_id=self.agent_id,
            model=self.route.model,
            ok=fault is None,
            text=text,
            reasoning=reasoning,
            latency_ms=round(1000 * (now - self.started)),
            finish_reason=finish.reason if finish else None,
            usage=usage_of(self.ticket, finish),
            backend=self.route.backend,
            stage=self.stage,
        )
        return row if fault is None else _with_fault(row, fault)


def missed(number: int, agent_id: str, miss: NoRoute, stage: str = "") -> Row:
    """Return the row of one for whom there is no model."""
    row = Row(number, agent_id, agent_id, ok=False, stage=stage, backend="")
    return _with_fault(row, fault_of_miss(miss))


def usage_of(ticket: Ticket, finish: Finish | None) -> Usage:
    """Return what an answer cost, also one that was stopped: then what is known of it."""
    if finish is not None:
        return finish.usage
    stream, prefill = ticket.stream, ticket.stream.prefill
    if stream.usage is not None:
        return stream.usage
    if prefill is None:
        return Usage(0, stream.tokens)
    return Usage(prefill.done, stream.tokens, min(prefill.cached or 0, prefill.done))


def total(usages: list[Usage]) -> Usage:
    """Return the sum."""
    return Usage(
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        sum(usage.cached_tokens for usage in usages),
        sum(usage.reasoning_tokens for usage in usages),
    )


def _with_fault(row: Row, fault: Fault) -> Row:
    return attrs.evolve(
        row,
        error=fault.message,
        error_kind=fault.kind,
        http_status=fault.http_status,
        error_detail=fault.detail or fault.message,
    )
