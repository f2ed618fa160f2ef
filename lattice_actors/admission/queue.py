"""Who runs, who waits, who is turned away. Pure. The caller brings the clock and the news.

Each piece of news changes the `Places`; `Settling` then draws every consequence that is due, in
one order: grants, swaps that begin, models that have drained, models that are wanted or not any
more. So it does not matter which news came first, and news that does not fit changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic

import attrs

from .forecast import Forecast
from .gang_refusals import GangRefusals
from .gangs import in_turn
from .outlook import Outlook, due_at
from .places import Places
from .refusals import MIN_RETRY_AFTER_S, Refusals
from .residence import Residence, Stream, Swap
from .settling import Settling
from .verdicts import (
    Cancel,
    Capacity,
    Drained,
    Facts,
    Granted,
    K,
    Limits,
    Phase,
    Prediction,
    QueueView,
    Refused,
    Verdict,
    Want,
)


@attrs.define(eq=False)
class AdmissionQueue(Generic[K]):
    """All waiting and running requests. Every method returns the verdicts it causes, in order.

    A ticket gets exactly one `Granted` or `Refused`, or none if it left before. `now` is the
    caller's monotonic clock in seconds and never goes back.

    Start with *rebuilding* after a crash of the owner: nothing is granted or refused for want of
    room until `begin`, so that each `census` can tell first what is running.
    """

    limits: Limits = attrs.field(factory=Limits)
    forecast: Forecast = attrs.field(factory=Forecast)
    rebuilding: bool = False
    _places: Places[K] = attrs.field(init=False)
    _work: Settling[K] = attrs.field(init=False)
    _left: set[K] = attrs.field(init=False, factory=set[K])  # while rebuilding
    _must_go: list[str] = attrs.field(init=False, factory=list[str])  # while rebuilding

    def __attrs_post_init__(self) -> None:
        self._places = Places(self.limits.ageing_s)
        self._work = Settling(self.limits, self.forecast, self._places)

    # --- news of requests ---

    def enter(self, ticket: K, facts: Facts, now: float) -> list[Verdict[K]]:
        """A request has come. It is granted, refused, or waits."""
        if ticket in self._places:
            return self._enter_again(ticket, now)
        home = self._places.home(facts.model)
        waiter = self._places.wait(ticket, facts, now)
        if self.rebuilding:
            return []
        verdicts = self._never_fitting(home, now)
        if facts.deadline > now + self.forecast.prefill_s(facts):  # else an idle model is no help
            verdicts += self._work.grants(now)
        if ticket in home.line:
            refusal = self._refusals().at_once(waiter, now)
            if refusal is not None:
                self._places.forget_waiter(ticket)
                verdicts.append(refusal)
        return verdicts + self._settle(now)

    def leave(self, ticket: K, now: float) -> list[Verdict[K]]:
        """The client has gone. Unknown and repeated tickets are nothing."""
        if self.rebuilding:
            self._left.add(ticket)  # a census may still name it
        home = self._places.home_of(ticket)
        if home is None:
            return []
        stream = home.streams.get(ticket)
        if stream is None:
            self._places.forget_waiter(ticket)
            return self._settle(now)
        if stream.leaving:
            return []
        stream.leaving = True
        return [Cancel(ticket)]

    def ended(self, ticket: K, now: float) -> list[Verdict[K]]:
        """The backend says that the stream is over: slot and memory are free."""
        home = self._places.home_of(ticket)
        if home is None or ticket not in home.streams:
            return []
        self._places.forget_stream(ticket)
        return self._settle(now)

    def expire(self, now: float) -> list[Verdict[K]]:
        """Refuse those whose wait is over, and begin the swaps that are due."""
        late = [one for one in self._places.waiters if one.facts.gives_up_at <= now]
        for waiter in late:
            self._places.forget_waiter(waiter.ticket)
        refusals = self._refusals()
        verdicts: list[Verdict[K]] = [refusals.expired(waiter, now) for waiter in late]
        return verdicts + self._settle(now)

    @property
    def next_deadline(self) -> float:
        """When `expire` next has something to do, seconds; never is infinity.

        Ageing needs no wake-up: it changes who is next, never whether somebody may go.
        """
        moments = [waiter.facts.gives_up_at for waiter in self._places.waiters]
        if not self.rebuilding:
            pending = (swap for swap in self._work.swaps.values() if not swap.begun)
            moments += [due_at(swap, self._places.homes, self.limits) for swap in pending]
        return min(moments, default=math.inf)

    def ready_since(self, model: str) -> float:
        """When *model* became ready; NaN where it is not."""
        home = self._places.homes.get(model)
        return home.since if home is not None and home.phase is Phase.READY else math.nan

    # --- news of gangs ---

    def enter_gang(
        self, branches: Sequence[tuple[K, Facts]], later: Sequence[tuple[K, Facts]], now: float
    ) -> list[Verdict[K]]:
        """A swarm has come: each of its tickets is let in, or each is refused for one reason.

        Each of *later* takes a place in the queue at once, and waits for it to be `eligible`.
        """
        branches = [(ticket, facts) for ticket, facts in branches if ticket not in self._places]
        later = [(ticket, facts) for ticket, facts in later if ticket not in self._places]
        models = in_turn(
            branches, later, {f.model: self._places.home(f.model) for _, f in branches}
        )
        for _, facts in later:
            self._places.home(facts.model)
        if not self.rebuilding:
            self._places.age(now)
            after = self._if_entered(branches, later, now)
            refusals = GangRefusals(self._outlook(), after).of(branches, later, now)
            if refusals:
                return [*refusals]
        for model in models:  # wants are told in the order of homes
            if not len(self._places.homes[model].line):
                self._places.to_the_end(model)
        for ticket, facts in later:
            self._places.hold(ticket, facts)
        for ticket, facts in branches:
            self._places.wait(ticket, facts, now)
        return self._settle(now)

    def rejoin(
        self, ticket: K, facts: Facts, now: float, *, eligible: bool = True
    ) -> list[Verdict[K]]:
        """A ticket asks for its grant whose gang was let in, maybe before a crash of the owner."""
        if ticket in self._places:
            return self._enter_again(ticket, now)
        if not eligible:
            self._places.hold(ticket, facts)
            return []
        waiter = self._places.wait(ticket, facts, now)
        verdicts = self._never_fitting(self._places.home(facts.model), now)
        too_late = facts.deadline <= now + self.forecast.prefill_s(facts)
        if too_late and ticket in self._places and not self.rebuilding:
            self._places.forget_waiter(ticket)
            verdicts.append(self._refusals().expired(waiter, now))
        return verdicts + self._settle(now)

    def eligible(self, ticket: K, facts: Facts, now: float) -> list[Verdict[K]]:
        """A ticket that was held may be granted from now on; *facts* are its final ones."""
        if ticket in self._places:
            if ticket not in self.held:
                return []
            self._places.forget_waiter(ticket)
        return self.rejoin(ticket, facts, now)

    # --- news of models ---

    def ready(self, model: str, capacity: Capacity, now: float) -> list[Verdict[K]]:
        """*model* serves, with this *capacity* (again: the capacity has changed)."""
        home = self._places.home(model)
        home.capacity = capacity
        # One that must go stays so, also when its engine has just been restarted.
        if home.phase in (Phase.COLD, Phase.WANTED):
            home.move(Phase.READY, now)
            self._work.swaps.pop(model, None)
        return self._never_fitting(home, now) + self._settle(now)

    def loading(self, model: str, now: float) -> list[Verdict[K]]:
        """The load has begun: it is not taken back, and its time counts from here. Optional."""
        home = self._places.home(model)
        if home.phase is Phase.WANTED:
            home.load_begun = True
            home.since = now
            self._work.swaps.pop(model, None)
        return []

    def gone(self, model: str, now: float) -> list[Verdict[K]]:
        """*model* holds no memory any more. Whoever waits for it makes it wanted again."""
        self._clear(self._places.home(model), now)
        return self._settle(now)

    def failed(
        self,
        model: str,
        code: str,
        message: str,
        retry_after_s: float | None,
        now: float,
        *,
        streams_run: bool = False,
    ) -> list[Verdict[K]]:
        """*model* cannot be had now: everybody who waits for it is refused with this.

        With *streams_run* what was granted goes on: it ends, or is cancelled, as ever.
        """
        home = self._places.home(model)
        if retry_after_s is not None:
            retry_after_s = max(MIN_RETRY_AFTER_S, retry_after_s)
        verdicts: list[Verdict[K]] = []
        for waiter in home.line.waiters:
            self._places.forget_waiter(waiter.ticket)
            facts = self._refusals().queue_facts(waiter, now)
            verdicts.append(Refused(waiter.ticket, code, message, retry_after_s, facts))
        self._clear(home, now, streams_run=streams_run)
        return verdicts + self._settle(now)

    def make_room(self, for_model: str, victims: Sequence[str], now: float) -> list[Verdict[K]]:
        """To load *for_model*, *victims* must go: begin when it is fair to (docs/scheduling.md).

        Asked for a model that nobody waits for, it answers `Unwant`.
        """
        home = self._places.home(for_model)
        if home.phase in (Phase.COLD, Phase.WANTED):
            known = self._work.swaps.get(for_model)
            others = tuple(victim for victim in victims if victim != for_model)
            self._work.swaps[for_model] = Swap(for_model, others)
            if known is not None and known.begun:
                self._work.begin(self._work.swaps[for_model], now)
        return self._settle(now)

    def drain(self, model: str, now: float) -> list[Verdict[K]]:
        """*model* must go now, whoever waits for it."""
        if self.rebuilding:
            self._must_go.append(model)  # what runs there is not known yet
            return []
        return [*self._work.drain(self._places.home(model), now), *self._settle(now)]

    def remind(self, now: float) -> list[Verdict[K]]:
        """The evictor has lost its memory: repeat what still matters. It plans its swaps anew."""
        self._work.swaps = {m: s for m, s in self._work.swaps.items() if s.begun}
        verdicts: list[Verdict[K]] = []
        for home in self._places.homes.values():
            if home.phase is Phase.WANTED:
                verdicts.append(Want(home.model))
            elif home.phase is Phase.DRAINED:
                verdicts.append(Drained(home.model))
        return verdicts + self._settle(now)

    # --- after a crash of the owner ---

    def census(
        self,
        model: str,
        phase_ready: bool,
        capacity: Capacity | None,
        running: Sequence[tuple[K, Facts]],
        now: float,
    ) -> list[Verdict[K]]:
        """What is true of *model*, from its own actor: what else was believed is forgotten."""
        home = self._places.home(model)
        if capacity is not None:
            home.capacity = capacity
        if not phase_ready and home.phase not in (Phase.COLD, Phase.WANTED):
            home.move(Phase.COLD, now)
        elif phase_ready and home.phase in (Phase.COLD, Phase.WANTED):
            home.move(Phase.READY, now)
            self._work.swaps.pop(model, None)
        verdicts: list[Verdict[K]] = []
        for ticket in set(home.streams) - {ticket for ticket, _ in running}:
            self._places.forget_stream(ticket)
        for ticket, facts in running:
            verdicts += self._adopt(home, ticket, facts, now)
        return verdicts + self._settle(now)

    def begin_rebuilding(self, now: float) -> list[Verdict[K]]:
        """Hold every decision back until `begin`, as the *rebuilding* flag does."""
        self._places.age(now)
        self.rebuilding = True
        return []

    def begin(self, now: float) -> list[Verdict[K]]:
        """The last census is in: decide from here on."""
        self.rebuilding = False
        self._left.clear()
        verdicts = [
            v for home in self._places.homes.values() for v in self._never_fitting(home, now)
        ]
        for model in self._must_go:
            verdicts += self._work.drain(self._places.home(model), now)
        self._must_go.clear()
        return verdicts + self._settle(now)

    # --- for showing ---

    def view(self, now: float) -> QueueView[K]:
        """Everybody and every model, as of *now*."""
        self._places.age(now)
        return self._outlook().view(now, rebuilding=self.rebuilding)

    def predict(self, facts: Facts, now: float) -> Prediction:
        """Where a request with these *facts* would stand if it came now. Changes nothing."""
        self._places.age(now)
        return self._outlook().predict(facts, now)

    @property
    def waiting(self) -> tuple[K, ...]:
        """Tickets without a fate, by model, in order of entering."""
        return tuple(waiter.ticket for waiter in self._places.waiters)

    @property
    def held(self) -> tuple[K, ...]:
        """Tickets of gangs that may not be granted yet."""
        return self._places.held

    @property
    def running(self) -> tuple[K, ...]:
        """Granted tickets that have not ended, leaving ones too."""
        return self._places.running

    def __repr__(self) -> str:
        ready = sum(home.phase is Phase.READY for home in self._places.homes.values())
        shown = [
            f"{len(self.running)} running",
            f"{len(self.waiting)}/{self.limits.queue_max_total or 'any'} waiting",
            f"{ready} of {len(self._places.homes)} models ready",
        ]
        if self._work.swaps:
            shown.append("swapping to " + ", ".join(self._work.swaps))
        if self.rebuilding:
            shown.append("rebuilding")
        return f"<AdmissionQueue {', '.join(shown)}>"

    # --- consequences ---

    def _settle(self, now: float) -> list[Verdict[K]]:
        return [] if self.rebuilding else self._work.settle(now)

    def _never_fitting(self, home: Residence[K], now: float) -> list[Verdict[K]]:
        verdicts: list[Verdict[K]] = []
        if self.rebuilding:
            return verdicts
        for waiter in home.line.waiters:
            reason = home.never_fits(waiter.facts)
            if reason is not None:
                self._places.forget_waiter(waiter.ticket)
                verdicts.append(self._refusals().too_large(waiter, reason, now))
        return verdicts

    # --- bookkeeping ---

    def _enter_again(self, ticket: K, now: float) -> list[Verdict[K]]:
        """Answer one whom a census already named; any other repetition is nothing."""
        home = self._places.home_of(ticket)
        stream = None if home is None else home.streams.get(ticket)
        if stream is None or not stream.adopted:
            return []
        stream.adopted = False
        return [Granted(ticket, max(0.0, now - stream.facts.arrived))]

    def _adopt(self, home: Residence[K], ticket: K, facts: Facts, now: float) -> list[Verdict[K]]:
        if ticket in home.streams:
            return []
        verdicts: list[Verdict[K]] = []
        waits = ticket in self._places
        if waits:  # it runs already: that is its fate
            self._places.forget_waiter(ticket)
            verdicts.append(Granted(ticket, max(0.0, now - facts.arrived)))
        stream = Stream(facts, now, adopted=not waits)
        self._places.run(ticket, stream, home.model)
        if ticket in self._left:
            stream.leaving = True
            verdicts.append(Cancel(ticket))
        return verdicts

    def _clear(self, home: Residence[K], now: float, *, streams_run: bool = False) -> None:
        """Forget all that was in memory: the model's streams can only be over."""
        for ticket in () if streams_run else list(home.streams):
            self._places.forget_stream(ticket)
        if home.phase is not Phase.COLD:
            home.move(Phase.COLD, now)
        self._work.swaps.pop(home.model, None)
        for swap in list(self._work.swaps.values()):
            if home.model not in swap.victims or swap.begun:
                continue
            swap.victims = tuple(victim for victim in swap.victims if victim != home.model)
            if not swap.victims:
                del self._work.swaps[swap.model]  # there is nothing left to decide

    def _if_entered(
        self, branches: Sequence[tuple[K, Facts]], later: Sequence[tuple[K, Facts]], now: float
    ) -> Outlook[K]:
        """The queue as it would be if these were let in, and what can run at once did."""
        trial = self._work.what_if()
        for ticket, facts in branches:
            trial.places.wait(ticket, facts, now)
        for ticket, facts in later:
            trial.places.hold(ticket, facts)
        trial.grants(now)
        return trial.outlook()

    def _outlook(self) -> Outlook[K]:
        return self._work.outlook()

    def _refusals(self) -> Refusals[K]:
        return Refusals(self._outlook())
