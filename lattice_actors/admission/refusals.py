"""Why a request is turned away, and when it is worth coming back. Pure."""

from __future__ import annotations

from typing import Generic

import attrs

from lattice_actors.errors import QueueFacts

from .deficit import Waiter
from .outlook import Outlook
from .residence import Residence
from .verdicts import Facts, K, Phase, Refused

MIN_RETRY_AFTER_S = 1.0  # the header knows whole seconds only, and 0 would invite a storm


@attrs.frozen
class Refusals(Generic[K]):
    """Refusals as the queue stands."""

    outlook: Outlook[K]

    def at_once(self, waiter: Waiter[K], now: float) -> Refused[K] | None:
        """Decide about a newcomer that is in the line and could not be granted."""
        facts = waiter.facts
        home = self.outlook.homes[facts.model]
        limits = self.outlook.limits
        starts = self.outlook.starts(home, home.line, now)
        wait_s = next(start_s for other, start_s in starts if other is waiter)
        waiting = self.waiting_total
        if facts.gives_up_at <= now:
            return self._came_to_nothing(waiter, wait_s, now)
        if 0 < limits.queue_max_per_model < home.places:
            place_s = starts[0][1]
            message = f"{home.places - 1} requests are waiting for {facts.model} already"
            return self._full(waiter, "queue_overloaded_model", message, place_s, wait_s, now)
        if 0 < limits.queue_max_total < waiting:
            place_s = self.outlook.next_start_in(now)
            message = f"{waiting - 1} requests are waiting already"
            return self._full(waiter, "queue_overloaded_total", message, place_s, wait_s, now)
        if now + wait_s + self.outlook.forecast.prefill_s(facts) > facts.deadline:
            return self._hopeless(waiter, "deadline_exceeded", wait_s, facts.deadline, now)
        if now + wait_s > facts.wait_until and not self._wakes(home, facts, now):
            return self._hopeless(waiter, "queue_timeout", wait_s, facts.wait_until, now)
        return None

    def expired(self, waiter: Waiter[K], now: float) -> Refused[K]:
        """Refuse one that has waited for as long as it would, and has left the line."""
        wait_s = self.outlook.predict(waiter.facts, now).wait_s
        return self._came_to_nothing(waiter, wait_s, now)

    def too_large(self, waiter: Waiter[K], reason: str, now: float) -> Refused[K]:
        """Refuse one that can never run."""
        queue = self.queue_facts(waiter, now)
        return Refused(waiter.ticket, "request_too_large", reason, None, queue, permanent=True)

    @property
    def waiting_total(self) -> int:
        """Taken places of the queue, over all models."""
        return sum(home.places for home in self.outlook.homes.values())

    def queue_facts(self, waiter: Waiter[K], now: float) -> QueueFacts:
        """The queue that *waiter* met, without itself."""
        facts = waiter.facts
        home = self.outlook.homes[facts.model]
        itself = int(waiter.ticket in home.line)
        return QueueFacts(
            model=facts.model,
            queued_for_model=home.places - itself,
            inflight_for_model=len(home.streams),
            queued_total=self.waiting_total - itself,
            inflight_total=sum(len(home.streams) for home in self.outlook.homes.values()),
            waited_ms=round(max(0.0, now - facts.arrived) * 1000),
        )

    def _wakes(self, home: Residence[K], facts: Facts, now: float) -> bool:
        """Whether the load depends on this request alone.

        Else a model that loads for longer than its clients wait would never be loaded at all: a
        load that has begun goes on after the one who asked for it has gone.
        """
        asleep = home.phase in (Phase.COLD, Phase.DRAINING, Phase.DRAINED)
        return asleep and len(home.line) == 1 and facts.wait_until > now

    def _came_to_nothing(self, waiter: Waiter[K], wait_s: float, now: float) -> Refused[K]:
        facts = waiter.facts
        by_deadline = facts.deadline < facts.wait_until
        code, whose = (
            ("deadline_exceeded", "deadline") if by_deadline else ("queue_timeout", "wait budget")
        )
        budget_s = max(0.0, facts.gives_up_at - facts.arrived)
        message = f"{facts.model} did not come free within the {whose} of {budget_s:g} s"
        return self._later(waiter, code, message, wait_s - budget_s, now)

    def _hopeless(
        self, waiter: Waiter[K], code: str, wait_s: float, until: float, now: float
    ) -> Refused[K]:
        facts = waiter.facts
        whose = "deadline" if code == "deadline_exceeded" else "wait budget"
        budget_s = max(0.0, until - now)
        message = (
            f"the wait for {facts.model} would be about {wait_s:.1f} s, "
            f"too long for the {whose} of {budget_s:g} s"
        )
        return self._later(waiter, code, message, wait_s - budget_s, now)

    def _full(
        self,
        waiter: Waiter[K],
        code: str,
        message: str,
        place_s: float,
        wait_s: float,
        now: float,
    ) -> Refused[K]:
        budget_s = waiter.facts.gives_up_at - now
        return self._later(waiter, code, message, max(place_s, wait_s - budget_s), now)

    def _later(
        self, waiter: Waiter[K], code: str, message: str, seconds: float, now: float
    ) -> Refused[K]:
        """If nobody else comes, the wait has sunk to the caller's budget after *seconds*."""
        queue = self.queue_facts(waiter, now)
        return Refused(waiter.ticket, code, message, max(MIN_RETRY_AFTER_S, seconds), queue)
