"""The laws of the eviction policy, in any order of news."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lattice_actors.residency.lru import Residency
from lattice_actors.residency.room import Room, Stage
from lattice_actors.residency.verdicts import Action, CannotFit, Drain, Load, MakeRoom, Stop

SIZES = {"a": 40, "b": 40, "c": 70, "d": 25, "e": 120}
BUDGET = 100
PLACES = 2


class ResidencyMachine(RuleBasedStateMachine):
    """Admission, model actors and operators, doing what they may in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.policy = Residency(Room(BUDGET, PLACES), idle_ttl_s=50)
        self.held: dict[str, str] = {}  # loading, ready, stopping: what really takes memory
        self.emptying: dict[str, str | None] = {}  # asked of admission, and for whom
        self.wanted: set[str] = set()
        self.busy: set[str] = set()

    def apply(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Load(model):
                    assert model not in self.held, "loaded twice"
                    self.held[model] = "loading"
                    self.wanted.discard(model)
                    self.check_room()
                case MakeRoom(model, victims):
                    assert model in self.wanted
                    for victim in victims:
                        assert self.held[victim] == "ready", "only what is ready can give way"
                        assert victim not in self.policy.room.pins, "a pinned model was chosen"
                        self.emptying[victim] = model
                case Drain(model):
                    self.emptying[model] = None
                case Stop(model):
                    assert self.held[model] in ("ready", "loading")
                    self.held[model] = "stopping"
                case CannotFit(model, message):
                    self.wanted.discard(model)
                    alone = SIZES[model] <= BUDGET
                    pinned = [m for m in self.policy.room.pins if m in self.held]
                    assert not alone or pinned, "said no although everything could have gone"
                    assert model in message

    def check_room(self) -> None:
        assert sum(SIZES[model] for model in self.held) <= BUDGET
        assert len(self.held) <= PLACES

    @rule(model=st.sampled_from(sorted(SIZES)))
    def want(self, model: str) -> None:
        if self.held.get(model) not in ("loading", "ready") or model in self.emptying:
            self.wanted.add(model)
        self.apply(self.policy.want(model, SIZES[model], self.now))

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def unwant(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.wanted)))
        kept = {victim for victim, wanting in self.emptying.items() if wanting == model}
        self.wanted -= {model, *kept}
        self.emptying = {v: m for v, m in self.emptying.items() if v not in kept}
        self.apply(self.policy.unwant(model, self.now))

    @precondition(lambda self: "loading" in self.held.values())
    @rule(data=st.data(), works=st.booleans())
    def load_ends(self, data: st.DataObject, works: bool) -> None:
        loading = sorted(m for m, state in self.held.items() if state == "loading")
        model = data.draw(st.sampled_from(loading))
        if works:
            self.held[model] = "ready"
            self.apply(self.policy.loaded(model, 0, self.now))
        else:
            self.forget(model)
            self.apply(self.policy.gone(model, self.now))

    @precondition(lambda self: self.emptying)
    @rule(data=st.data())
    def admission_empties(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.emptying)))
        del self.emptying[model]
        self.busy.discard(model)
        self.apply(self.policy.drained(model, self.now))

    @precondition(lambda self: "stopping" in self.held.values())
    @rule(data=st.data())
    def process_is_reaped(self, data: st.DataObject) -> None:
        stopping = sorted(m for m, state in self.held.items() if state == "stopping")
        model = data.draw(st.sampled_from(stopping))
        self.forget(model)
        self.apply(self.policy.gone(model, self.now))

    @rule(model=st.sampled_from(sorted(SIZES)), pinned=st.booleans())
    def pin(self, model: str, pinned: bool) -> None:
        if model not in self.emptying:  # what is going already goes
            self.apply(self.policy.pin(model, pinned=pinned, now=self.now))

    @rule(model=st.sampled_from(sorted(SIZES)))
    def unload(self, model: str) -> None:
        if self.held.get(model) in ("loading", "ready"):
            self.wanted.discard(model)
        self.apply(self.policy.unload(model, self.now))

    @rule(model=st.sampled_from(sorted(SIZES)), busy=st.booleans(), seconds=st.floats(0, 30))
    def used(self, model: str, busy: bool, seconds: float) -> None:
        self.now += seconds
        if self.held.get(model) == "ready":
            (self.busy.add if busy else self.busy.discard)(model)
            self.apply(self.policy.used(model, busy=busy, now=self.now))
        self.apply(self.policy.expire(self.now))

    def forget(self, model: str) -> None:
        del self.held[model]
        self.emptying.pop(model, None)
        self.busy.discard(model)

    @invariant()
    def memory_is_counted_for_exactly_what_holds_it(self) -> None:
        assert set(self.policy.room.by_last_use) == set(self.held)
        assert self.policy.room.reserved_bytes == sum(SIZES[model] for model in self.held)
        self.check_room()

    @invariant()
    def whoever_is_wanted_has_something_coming(self) -> None:
        """Never a want that waits for nothing: news must be on its way for the first of them."""
        if self.wanted:
            on_its_way = self.emptying or {"loading", "stopping"} & set(self.held.values())
            assert on_its_way, f"{self.wanted} wait for nothing; {self.policy!r}"


TestResidency = ResidencyMachine.TestCase


def ready(policy: Residency, model: str, size: int, now: float) -> None:
    assert policy.want(model, size, now) == [Load(model)]
    policy.loaded(model, 0, now)


def test_the_least_recently_used_idle_model_goes_first() -> None:
    policy = Residency(Room(0, 2))
    ready(policy, "a", 1, 0)
    ready(policy, "b", 1, 1)
    policy.used("a", busy=False, now=2)

    assert policy.want("c", 1, 3) == [MakeRoom("c", ("b",))]


def test_a_busy_model_goes_only_when_no_idle_one_does() -> None:
    policy = Residency(Room(0, 2))
    ready(policy, "a", 1, 0)
    ready(policy, "b", 1, 1)
    policy.used("a", busy=True, now=0)

    assert policy.want("c", 1, 3) == [MakeRoom("c", ("b",))]


def test_no_model_goes_that_could_have_stayed() -> None:
    policy = Residency(Room(100, 10))
    ready(policy, "small", 10, 0)
    ready(policy, "large", 80, 1)

    assert policy.want("new", 60, 2) == [MakeRoom("new", ("large",))]


def test_room_is_made_before_the_load_and_the_load_waits_for_the_reap() -> None:
    policy = Residency(Room(100, 10))
    ready(policy, "a", 80, 0)

    assert policy.want("b", 80, 1) == [MakeRoom("b", ("a",))]
    assert policy.drained("a", 2) == [Stop("a")]
    assert policy.gone("a", 3) == [Load("b")]


def test_it_is_told_why_a_model_leaves() -> None:
    policy = Residency(Room(100, 10), idle_ttl_s=50)
    ready(policy, "a", 80, 0)
    policy.want("b", 80, 1)
    assert policy.drained("a", 2) == [Stop("a", "evicted")]
    policy.gone("a", 3)
    policy.unload("b", 4)  # while it loads
    assert policy.stage("b") is Stage.STOPPING
    policy.gone("b", 5)

    ready(policy, "c", 40, 6)
    policy.unload("c", 7)
    assert policy.drained("c", 8) == [Stop("c", "unloaded")]
    ready(policy, "d", 40, 9)
    policy.expire(60)
    assert policy.drained("d", 61) == [Stop("d", "idle")]


def test_a_small_model_that_fits_beside_the_first_want_does_not_wait_for_it() -> None:
    policy = Residency(Room(100, 10))
    ready(policy, "a", 70, 0)
    policy.want("large", 80, 1)

    assert policy.want("small", 20, 2) == [Load("small")]


def test_a_model_larger_than_the_budget_is_refused_with_the_numbers() -> None:
    policy = Residency(Room(10**9, 2))

    (refusal,) = policy.want("a", 2 * 10**9, 0)

    assert isinstance(refusal, CannotFit)
    assert "2.00 GB" in refusal.message
    assert "1.00 GB" in refusal.message


def test_a_plan_changes_nothing() -> None:
    policy = Residency(Room(0, 1))
    ready(policy, "a", 1, 0)

    assert policy.plan("b", 1) == ("a",)
    assert policy.stage("a") is Stage.READY
    assert policy.want("b", 1, 1) == [MakeRoom("b", ("a",))]


@pytest.mark.parametrize(("since_s", "expected"), [(49, []), (50, [Drain("a")])])
def test_idle_models_go_after_their_time(since_s: float, expected: list[Action]) -> None:
    policy = Residency(Room(0, 2), idle_ttl_s=50)
    ready(policy, "a", 1, 0)
    policy.used("a", busy=True, now=1)
    assert policy.expire(1000) == []
    policy.used("a", busy=False, now=1000)

    assert policy.expire(1000 + since_s) == expected


def test_a_drain_that_is_told_twice_does_not_end_the_next_load() -> None:
    policy = Residency(Room(0, 1))
    ready(policy, "a", 1, 0)
    policy.want("b", 1, 1)
    policy.drained("a", 2)
    policy.want("a", 1, 3)
    policy.gone("a", 4)
    policy.gone("b", 5)  # b's load failed; a is loading again
    assert policy.stage("a") is Stage.LOADING

    assert policy.drained("a", 6) == []
    assert policy.stage("a") is Stage.LOADING


def test_who_stands_behind_a_model_that_never_fits_is_asked_for_room() -> None:
    policy = Residency(Room(100, 10))
    ready(policy, "c", 70, 0)
    policy.want("a", 40, 1)
    policy.want("huge", 120, 2)
    policy.want("b", 40, 3)

    refusal, asked = policy.unwant("a", 4)

    assert isinstance(refusal, CannotFit)
    assert asked == MakeRoom("b", ("c",))


def test_who_was_to_give_way_stays_when_room_came_from_elsewhere() -> None:
    policy = Residency(Room(0, 2))
    for model in "ab":
        policy.want(model, 1, 0.0)
        policy.loaded(model, 1, 0.0)
    assert policy.want("c", 1, 1.0) == [MakeRoom("c", ("a",))]

    assert policy.gone("b", 2.0) == [Load("c")]

    assert policy.stage("a") is Stage.READY
    policy.loaded("c", 1, 3.0)
    assert policy.want("b", 1, 4.0) == [MakeRoom("b", ("a",))]
