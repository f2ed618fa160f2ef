"""Laws of the admission policy, held against news in any order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.residence import kv_bytes
from lattice_actors.admission.verdicts import (
    Cancel,
    Capacity,
    Class,
    Drained,
    Facts,
    Granted,
    Level,
    Limits,
    Phase,
    Refused,
    Unwant,
    Verdict,
    Want,
)
from tests.policies.queueing import (
    facts,
)


class QueueMachine(RuleBasedStateMachine):
    """Requests, ends, leavers, loads, swaps and passing time, in any order."""

    LIMITS = Limits(queue_max_per_model=4, queue_max_total=7, streams_total=4)
    CAPACITY = Capacity(slots=3, kv_bytes_per_token=1, kv_budget_bytes=2048, context_tokens=1500)
    MODELS = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = AdmissionQueue[int](self.LIMITS)
        self.facts: dict[int, Facts] = {}
        self.undecided: set[int] = set()
        self.held: set[int] = set()  # undecided members of gangs that are not eligible yet
        self.begun: set[str] = set()  # gangs of which somebody was granted
        self.streams: dict[int, bool] = {}  # running: has its client left?
        self.ready: set[str] = set()
        self.drained: set[str] = set()
        self.asked: set[str] = set()  # to give way to another model
        self.wanted: set[str] = set()
        self.rebuilding = False
        self.tickets = iter(range(100_000))

    def apply(self, verdicts: Sequence[Verdict[int]]) -> None:
        for verdict in verdicts:
            match verdict:
                case Granted(ticket, queued_s):
                    self.undecided.remove(ticket)  # a second fate would raise here
                    self.streams[ticket] = False
                    model = self.facts[ticket].model
                    assert not self.rebuilding
                    assert model in self.ready
                    assert model not in self.drained
                    assert queued_s >= 0
                    assert ticket not in self.held
                    self.begun.add(self.facts[ticket].gang or "")
                case Refused(ticket):
                    self.undecided.remove(ticket)
                    assert verdict.permanent or verdict.retry_after_s is not None
                    assert verdict.retry_after_s is None or verdict.retry_after_s >= 1
                    gang = self.facts[ticket].gang
                    if gang is not None:  # it was let in
                        assert ticket not in self.held
                        assert not verdict.code.startswith("queue_overloaded")
                        assert verdict.code != "queue_timeout" or gang not in self.begun
                case Cancel(ticket):
                    assert self.streams[ticket]
                case Want(model):
                    assert model not in self.ready
                    assert model not in self.wanted
                    self.wanted.add(model)
                case Unwant(model):
                    self.wanted.discard(model)
                case Drained(model):
                    assert model in self.ready
                    # Asked for room too, it answers a second time; the evictor takes that well.
                    assert model not in self.drained or model in self.asked
                    assert not any(self.facts[t].model == model for t in self.streams)
                    self.drained.add(model)

    @rule(
        model=st.sampled_from(MODELS),
        key=st.sampled_from("xyz"),
        klass=st.sampled_from(Class),
        budget_s=st.sampled_from([0.0, 1.0, 6.0, 20.0, math.inf]),
        deadline_s=st.sampled_from([0.5, 30.0, math.inf, math.inf]),
        prompt=st.sampled_from([1.0, 100.0, 600.0, 3000.0]),
        max_tokens=st.sampled_from([1, 100, 700, 1501]),
    )
    def arrive(
        self,
        model: str,
        key: str,
        klass: Class,
        budget_s: float,
        deadline_s: float,
        prompt: float,
        max_tokens: int,
    ) -> None:
        ticket = next(self.tickets)
        self.facts[ticket] = facts(
            model,
            self.now,
            key=key,
            klass=klass,
            budget_s=budget_s,
            deadline=self.now + deadline_s,
            prompt=prompt,
            max_tokens=max_tokens,
        )
        self.undecided.add(ticket)
        self.apply(self.queue.enter(ticket, self.facts[ticket], self.now))

    @rule(
        models=st.lists(st.sampled_from(MODELS), min_size=1, max_size=5),
        later=st.lists(st.sampled_from(MODELS), max_size=2),
        key=st.sampled_from("xyz"),
        budget_s=st.sampled_from([0.0, 6.0, 20.0, math.inf]),
        deadline_s=st.sampled_from([0.5, 30.0, math.inf, math.inf]),
        max_tokens=st.sampled_from([1, 100, 700, 1501]),
    )
    def a_gang_arrives(
        self,
        models: list[str],
        later: list[str],
        key: str,
        budget_s: float,
        deadline_s: float,
        max_tokens: int,
    ) -> None:
        tickets = [next(self.tickets) for _ in (*models, *later)]
        for ticket, model in zip(tickets, (*models, *later), strict=True):
            self.facts[ticket] = facts(
                model,
                self.now,
                key=key,
                budget_s=budget_s,
                deadline=self.now + deadline_s,
                max_tokens=max_tokens,
                gang=f"gang {tickets[0]}",
            )
        members = [(ticket, self.facts[ticket]) for ticket in tickets]
        verdicts = self.queue.enter_gang(members[: len(models)], members[len(models) :], self.now)
        refusals = [v for v in verdicts if isinstance(v, Refused)]
        if refusals:
            assert not self.rebuilding
            assert [v.ticket for v in verdicts if isinstance(v, Refused)] == tickets
            assert len(verdicts) == len(tickets)  # and nothing else has changed
            assert len({(v.code, v.message) for v in refusals}) == 1
            return
        self.undecided.update(tickets)
        self.held.update(tickets[len(models) :])
        self.apply(verdicts)
        if not self.rebuilding:
            self.the_gang_took_no_more_places_than_there_are(set(tickets) & self.undecided)

    def the_gang_took_no_more_places_than_there_are(self, tickets: set[int]) -> None:
        places = Counter(self.facts[t].model for t in self.undecided)
        assert all(places[self.facts[t].model] <= self.LIMITS.queue_max_per_model for t in tickets)
        assert not tickets or sum(places.values()) <= self.LIMITS.queue_max_total

    @precondition(lambda self: self.held)
    @rule(data=st.data(), max_tokens=st.sampled_from([1, 100, 700, 1501]))
    def a_held_one_becomes_eligible(self, data: st.DataObject, max_tokens: int) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(ticket)
        self.facts[ticket] = attrs.evolve(
            self.facts[ticket], arrived=self.now, wait_until=math.inf, max_tokens=max_tokens
        )
        self.apply(self.queue.eligible(ticket, self.facts[ticket], self.now))
        assert self.queue.eligible(ticket, self.facts[ticket], self.now) == [] or (
            ticket not in self.undecided and ticket not in self.streams
        )

    @precondition(lambda self: self.undecided)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.undecided)))
        self.undecided.remove(ticket)
        self.held.discard(ticket)
        self.apply(self.queue.leave(ticket, self.now))

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def leave_running(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.streams)))
        known = self.streams[ticket]
        self.streams[ticket] = True
        verdicts = self.queue.leave(ticket, self.now)
        if not self.rebuilding:  # else a census has to name it first
            assert verdicts == ([] if known else [Cancel(ticket)])

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.streams)))
        del self.streams[ticket]
        self.apply(self.queue.ended(ticket, self.now))
        assert self.queue.ended(ticket, self.now) == []

    @rule(model=st.sampled_from(MODELS))
    def become_ready(self, model: str) -> None:
        if model not in self.ready:
            self.ready.add(model)
            self.wanted.discard(model)
            self.apply(self.queue.ready(model, self.CAPACITY, self.now))

    @rule(model=st.sampled_from(MODELS), victims=st.sets(st.sampled_from(MODELS)))
    def make_room(self, model: str, victims: set[str]) -> None:
        possible = sorted((victims & self.ready) - self.drained - {model})
        if model in self.wanted and possible:
            self.asked.update(possible)
            self.apply(self.queue.make_room(model, possible, self.now))

    @rule(model=st.sampled_from(MODELS))
    def unload(self, model: str) -> None:
        # While rebuilding it is held back, and asking twice would be answered twice.
        if model in self.ready and model not in self.drained and not self.rebuilding:
            self.apply(self.queue.drain(model, self.now))

    @precondition(lambda self: self.drained)
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        self.vanish(data.draw(st.sampled_from(sorted(self.drained))))

    @precondition(lambda self: self.ready)
    @rule(data=st.data(), failed=st.booleans())
    def crash(self, data: st.DataObject, failed: bool) -> None:
        self.vanish(data.draw(st.sampled_from(sorted(self.ready))), failed=failed)

    def vanish(self, model: str, *, failed: bool = False) -> None:
        self.ready.discard(model)
        self.drained.discard(model)
        self.asked.discard(model)
        self.streams = {t: left for t, left in self.streams.items() if self.facts[t].model != model}
        if failed:
            self.apply(self.queue.failed(model, "model_load_failed", "broken", 5.0, self.now))
        else:
            self.apply(self.queue.gone(model, self.now))

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.queue.expire(self.now))
        for ticket in self.undecided - self.held:
            begun = self.facts[ticket].gang in self.begun
            until = self.facts[ticket].deadline if begun else self.facts[ticket].gives_up_at
            assert until > self.now
        assert self.queue.next_deadline > self.now  # else its owner would spin

    @precondition(lambda self: not self.rebuilding)
    @rule()
    def lose_the_memory(self) -> None:
        """A new incarnation: whoever waits asks again, the model actors have to tell."""
        self.queue = AdmissionQueue[int](self.LIMITS, rebuilding=True)
        self.rebuilding = True
        self.wanted.clear()
        for ticket in sorted(self.undecided):
            known = self.facts[ticket]
            if known.gang is None:
                self.apply(self.queue.enter(ticket, known, self.now))
                continue
            if known.gang in self.begun:
                known = attrs.evolve(known, wait_until=math.inf)
            held = ticket in self.held
            self.apply(self.queue.rejoin(ticket, known, self.now, eligible=not held))

    @precondition(lambda self: self.rebuilding)
    @rule()
    def tell_it_all(self) -> None:
        for model in self.MODELS:
            running = [(t, self.facts[t]) for t in self.streams if self.facts[t].model == model]
            drained = model in self.drained
            self.drained.discard(model)
            self.apply(
                self.queue.census(model, model in self.ready, self.CAPACITY, running, self.now)
            )
            if drained:  # the evictor holds on to its plan
                self.apply(self.queue.drain(model, self.now))
        self.rebuilding = False
        for ticket, left in list(self.streams.items()):
            if left:
                assert self.queue.leave(ticket, self.now) in ([Cancel(ticket)], [])
        self.apply(self.queue.begin(self.now))

    @invariant()
    def the_queue_agrees_about_who_waits_and_who_runs(self) -> None:
        assert set(self.queue.waiting) == self.undecided - self.held
        assert set(self.queue.held) == self.held
        if not self.rebuilding:
            assert set(self.queue.running) == set(self.streams)
            assert len(self.streams) <= self.LIMITS.streams_total

    @invariant()
    def slots_and_memory_are_never_exceeded(self) -> None:
        for model in self.MODELS:
            rows = [
                min(self.facts[t].tokens, self.CAPACITY.longest_tokens)
                for t in self.streams
                if self.facts[t].model == model
            ]
            assert len(rows) <= 3
            assert not rows or kv_bytes(len(rows), max(rows), self.CAPACITY) <= 2048

    @invariant()
    def nobody_waits_while_a_ready_model_has_room(self) -> None:
        if self.rebuilding or len(self.streams) >= self.LIMITS.streams_total:
            return
        view = self.queue.view(self.now)
        for model in self.MODELS:
            if model not in view.models or view.models[model].phase is not Phase.READY:
                continue
            waiting = [w for w in view.waiting if w.model == model]
            blocked = False
            anybody_fits = False
            rows = [
                min(self.facts[t].tokens, self.CAPACITY.longest_tokens)
                for t in self.streams
                if self.facts[t].model == model
            ]
            for waiter in waiting:
                needs = self.facts[waiter.ticket]
                longest = max([*rows, min(needs.tokens, self.CAPACITY.longest_tokens)])
                fits = kv_bytes(len(rows) + 1, longest, self.CAPACITY) <= 2048 and len(rows) < 3
                anybody_fits |= fits
                blocked |= waiter.level is Level.OVERDUE and not fits
            assert not anybody_fits or blocked  # behind an overdue one that does not fit itself

    @invariant()
    def somebody_is_always_told_about_a_model_that_is_waited_for(self) -> None:
        for ticket in self.undecided - self.held:
            model = self.facts[ticket].model
            assert self.rebuilding or model in self.ready or model in self.wanted

    @invariant()
    def predictions_are_finite_and_change_nothing(self) -> None:
        before = repr(self.queue)
        assert 0 <= self.queue.predict(facts("a", self.now), self.now).wait_s < math.inf
        assert repr(self.queue) == before


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
