"""Admission queues in a known state, and what their tests ask of verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Capacity,
    Class,
    Facts,
    Granted,
    Limits,
    Refused,
    Verdict,
    Want,
)

TWO_SLOTS = Capacity(slots=2, kv_bytes_per_token=0, kv_budget_bytes=0)
ONE_SLOT = Capacity(slots=1, kv_bytes_per_token=0, kv_budget_bytes=0)


def facts(
    model: str = "a",
    arrived: float = 0.0,
    *,
    key: str = "ann",
    klass: Class = Class.NORMAL,
    budget_s: float = math.inf,
    deadline: float = math.inf,
    prompt: float = 100.0,
    max_tokens: int = 100,
    priority: int = 0,
    gang: str | None = None,
) -> Facts:
    return Facts(
        model=model,
        key=key,
        klass=klass,
        priority=priority,
        arrived=arrived,
        wait_until=arrived + budget_s,
        deadline=deadline,
        cost_tokens=prompt + max_tokens,
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        gang=gang,
    )


def granted(verdicts: Sequence[Verdict[int]]) -> list[int]:
    return [v.ticket for v in verdicts if isinstance(v, Granted)]


def refused(verdicts: Sequence[Verdict[int]]) -> Refused[int]:
    [refusal] = [v for v in verdicts if isinstance(v, Refused)]
    return refusal


def serving(capacity: Capacity = ONE_SLOT, limits: Limits | None = None) -> AdmissionQueue[int]:
    queue = AdmissionQueue[int](limits or Limits())
    queue.ready("a", capacity, 0.0)
    return queue


def slow_queue() -> AdmissionQueue[int]:
    """One slot; every request is known to take 10 s."""
    queue = serving()
    for _ in range(200):
        queue.forecast.observed_finish(
            "a",
            prompt_tokens=100_000,
            prompt_bytes=350_000,
            completion_tokens=101,
            max_tokens=101,
            decode_s=10.0,
            ttft_s=1.0,
        )
    return queue


def swapping(*, waiters: int) -> AdmissionQueue[int]:
    """Model a came at 0, runs ticket 1 and has *waiters*; somebody wants b since 1.0."""
    queue = serving()
    queue.enter(1, facts(), 0.0)
    for ticket in range(100, 100 + waiters):
        queue.enter(ticket, facts(), 0.0)
    assert queue.enter(2, facts("b", 1.0), 1.0) == [Want("b")]
    assert queue.make_room("b", ["a"], 1.0) == []
    return queue
