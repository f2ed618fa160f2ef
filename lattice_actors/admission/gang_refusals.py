"""Why a whole swarm is turned away, and when it is worth coming back. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from .deficit import ENTRY_LEVEL, Waiter
from .gangs import Members
from .outlook import Outlook
from .refusals import MIN_RETRY_AFTER_S, Refusals
from .residence import Residence
from .verdicts import Facts, K, Phase, Refused


@attrs.frozen
class GangRefusals(Refusals[K]):
    """Refusals of whole gangs. `outlook` is the queue that the gang meets."""

    after: Outlook[K]  # the queue if it were let in, and what can run at once did

    def of(self, branches: Members[K], later: Members[K], now: float) -> list[Refused[K]]:
        """Refuse every member for one reason, or nobody."""
        refusal = (
            self._never(branches, later, now)
            or self._deadlines(branches, now)
            or self._crowded(branches, later, now)
            or self._budgets(branches, now)
        )
        if refusal is None:
            return []
        return [attrs.evolve(refusal, ticket=ticket) for ticket, _ in (*branches, *later)]

    def _never(self, branches: Members[K], later: Members[K], now: float) -> Refused[K] | None:
        """Refuse for good what an empty queue could not take either."""
        for ticket, facts in (*branches, *later):
            reason = self.outlook.homes[facts.model].never_fits(facts)
            if reason is not None:
                return self.too_large(_at_the_door(ticket, facts), reason, now)
        limits = self.outlook.limits
        needs: dict[str, int] = {}
        for ticket, facts in (*branches, *later):
            if facts.model in needs:
                continue
            mine = [f for _, f in branches if f.model == facts.model]
            needs[facts.model] = self._places_alone(mine)
            needs[facts.model] += sum(f.model == facts.model for _, f in later)
            if 0 < limits.queue_max_per_model < needs[facts.model]:
                reason = (
                    f"the swarm needs {needs[facts.model]} places in the queue for {facts.model}, "
                    f"which has {limits.queue_max_per_model}"
                )
                return self._too_many(_at_the_door(ticket, facts), reason, now)
        if 0 < limits.queue_max_total < sum(needs.values()):
            reason = (
                f"the swarm needs {sum(needs.values())} places in the queue, "
                f"which has {limits.queue_max_total}"
            )
            return self._too_many(_at_the_door(*(*branches, *later)[0]), reason, now)
        return None

    def _places_alone(self, branches: Sequence[Facts]) -> int:
        """How many of these, all for one model, would have to wait if nobody else was there."""
        if not branches:
            return 0
        home = self.outlook.homes[branches[0].model]
        if home.phase is not Phase.READY:
            return len(branches)
        slots = home.slots_for(max(facts.tokens for facts in branches))
        return max(0, len(branches) - slots) if slots else 0

    def _deadlines(self, branches: Members[K], now: float) -> Refused[K] | None:
        """Refuse what comes too late, with the gang's own branches counted."""
        if all(facts.deadline == math.inf for _, facts in branches):
            return None  # it spares the predictions
        starts = {
            waiter.ticket: start_s
            for model in {facts.model for _, facts in branches}
            for waiter, start_s in self.after.starts(
                self.after.homes[model], self.after.homes[model].line, now
            )
        }
        for ticket, facts in branches:
            wait_s = starts.get(ticket, 0.0)
            if now + wait_s + self.outlook.forecast.prefill_s(facts) > facts.deadline:
                waiter = _at_the_door(ticket, facts)
                return self._hopeless(waiter, "deadline_exceeded", wait_s, facts.deadline, now)
        return None

    def _crowded(self, branches: Members[K], later: Members[K], now: float) -> Refused[K] | None:
        """Refuse what takes more places than are left. Whatever runs at once takes none."""
        limits = self.outlook.limits
        total = 0
        for model in dict.fromkeys(facts.model for _, facts in (*branches, *later)):
            before, after = self.outlook.homes[model], self.after.homes[model]
            ticket, facts = next(m for m in (*branches, *later) if m[1].model == model)
            needed = after.places - before.places
            total += needed
            if needed and 0 < limits.queue_max_per_model < after.places:
                message = (
                    f"the swarm needs {needed} places in the queue for {model}, and "
                    f"{before.places} of {limits.queue_max_per_model} are taken"
                )
                excess = after.places - limits.queue_max_per_model
                return self._later(
                    _at_the_door(ticket, facts),
                    "queue_overloaded_model",
                    message,
                    self._places_free_in([before], excess, now),
                    now,
                )
        before_total = self.waiting_total
        if total and 0 < limits.queue_max_total < before_total + total:
            ticket, facts = (*branches, *later)[0]
            message = (
                f"the swarm needs {total} places in the queue, and "
                f"{before_total} of {limits.queue_max_total} are taken"
            )
            excess = before_total + total - limits.queue_max_total
            free_s = self._places_free_in(self.outlook.homes.values(), excess, now)
            waiter = _at_the_door(ticket, facts)
            return self._later(waiter, "queue_overloaded_total", message, free_s, now)
        return None

    def _places_free_in(self, homes: Iterable[Residence[K]], places: int, now: float) -> float:
        """When *places* of those who wait have started, seconds."""
        starts = sorted(s for home in homes for _, s in self.outlook.starts(home, home.line, now))
        if not starts:
            return MIN_RETRY_AFTER_S
        return starts[min(places, len(starts)) - 1]

    def _budgets(self, branches: Members[K], now: float) -> Refused[K] | None:
        """Refuse what would wait for others for too long; one's own gang has begun by then."""
        # One prediction for each model: a gang is of one key and class.
        waits: dict[str, float] = {}
        for ticket, facts in branches:
            if facts.model not in waits:
                waits[facts.model] = self.outlook.predict(facts, now).wait_s
            wait_s = waits[facts.model]
            home = self.outlook.homes[facts.model]
            asleep = home.phase in (Phase.COLD, Phase.DRAINING, Phase.DRAINED)
            wakes = asleep and not len(home.line) and facts.wait_until > now
            if now + wait_s > facts.wait_until and not wakes:
                waiter = _at_the_door(ticket, facts)
                return self._hopeless(waiter, "queue_timeout", wait_s, facts.wait_until, now)
        return None

    def _too_many(self, waiter: Waiter[K], reason: str, now: float) -> Refused[K]:
        queue = self.queue_facts(waiter, now)
        return Refused(waiter.ticket, "swarm_too_large", reason, None, queue, permanent=True)


def _at_the_door(ticket: K, facts: Facts) -> Waiter[K]:
    return Waiter(ticket, facts, 0, ENTRY_LEVEL[facts.klass])
