"""Laws and cases of swarms in the queue."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice_actors.admission.forecast import longest_wait_s
from lattice_actors.admission.queue import AdmissionQueue
from lattice_actors.admission.verdicts import (
    Cancel,
    Capacity,
    Class,
    Drained,
    Facts,
    Granted,
    Limits,
    Phase,
    Refused,
    Unwant,
    Verdict,
    Want,
)
from tests.policies.arrivals import ARRIVALS, SERVICE_S, Arrival, Gaps, World, traffic
from tests.policies.queueing import ONE_SLOT, TWO_SLOTS, facts, granted, serving

Member = tuple[int, Facts]


def members(models: str, first: int = 1, *, budget_s: float = math.inf) -> list[Member]:
    """One ticket for each letter, counted from *first*."""
    return [
        (first + n, facts(model, gang="g", budget_s=budget_s)) for n, model in enumerate(models)
    ]


def reasons(verdicts: Sequence[Verdict[int]]) -> set[str]:
    return {v.code for v in verdicts if isinstance(v, Refused)}


# --- all or nothing ---


def test_a_gang_runs_what_fits_and_the_rest_waits_in_waves() -> None:
    queue = serving(TWO_SLOTS)

    assert granted(queue.enter_gang(members("aaaaa"), [], 0.0)) == [1, 2]
    assert granted(queue.ended(1, 5.0)) == [3]


def test_whoever_runs_at_once_takes_no_place_in_the_queue() -> None:
    limits = Limits(queue_max_per_model=1, queue_max_total=1)
    queue = serving(Capacity(8, 0, 0), limits)

    assert len(granted(queue.enter_gang(members("aaaaaaaa"), [], 0.0))) == 8


def test_eight_branches_and_a_judge_fit_an_idle_server_of_default_settings() -> None:
    queue = AdmissionQueue[int]()

    assert queue.enter_gang(members("aabbccdd"), members("a", 9), 0.0) == [
        Want("b"),
        Want("c"),
        Want("d"),
        Want("a"),
    ]


@pytest.mark.parametrize(
    ("limits", "code", "says"),
    [
        (Limits(queue_max_per_model=3), "queue_overloaded_model", "needs 3 places.*1 of 3 are"),
        (Limits(queue_max_total=4), "queue_overloaded_total", "needs 4 places.*1 of 4 are"),
    ],
)
def test_without_room_for_all_of_them_nobody_enters(limits: Limits, code: str, says: str) -> None:
    queue = serving(limits=limits)
    queue.enter(100, facts(), 0.0)
    queue.enter(101, facts(), 0.0)
    before = queue.view(0.0)

    verdicts = queue.enter_gang(members("aab"), members("a", 4), 0.0)

    refusals = [v for v in verdicts if isinstance(v, Refused)]
    assert [v.ticket for v in refusals] == [1, 2, 3, 4]
    assert len(verdicts) == 4
    assert reasons(verdicts) == {code}
    assert re.search(says, refusals[0].message)
    assert all(v.retry_after_s is not None and v.retry_after_s >= 1 for v in refusals)
    assert queue.view(0.0).waiting == before.waiting
    assert queue.held == ()


def test_a_swarm_that_no_empty_queue_could_take_is_refused_for_good_with_the_numbers() -> None:
    queue = serving(TWO_SLOTS, Limits(queue_max_per_model=4))

    verdicts = queue.enter_gang(members("aaaaaa"), members("a", 7), 0.0)

    refusal = next(v for v in verdicts if isinstance(v, Refused))
    assert (refusal.code, refusal.permanent) == ("swarm_too_large", True)
    assert refusal.message == "the swarm needs 5 places in the queue for a, which has 4"
    assert granted(queue.enter_gang(members("aaaaaa"), [], 0.0)) == [1, 2]


def test_one_member_that_can_never_run_keeps_the_whole_swarm_out() -> None:
    queue = serving(Capacity(4, 0, 0, context_tokens=2000))
    judge = (3, facts(max_tokens=2001, gang="g"))

    assert reasons(queue.enter_gang(members("aa"), [judge], 0.0)) == {"request_too_large"}
    assert queue.running == ()


def test_a_deadline_that_the_last_wave_would_miss_is_refused_before_the_first_begins() -> None:
    queue = serving()
    queue.forecast.ready("a", decode_step_s=0.1, prefill_tokens_per_s=1e6)  # 5 s each
    tickets = [(n, facts(deadline=9.0, gang="g")) for n in range(3)]

    assert reasons(queue.enter_gang(tickets, [], 0.0)) == {"deadline_exceeded"}
    assert granted(queue.enter_gang(tickets[:2], [], 0.0)) == [0]


# --- wait budgets ---


def test_waiting_for_ones_own_gang_needs_no_wait_budget() -> None:
    queue = serving()
    verdicts = queue.enter_gang(members("aaa", budget_s=0.0), [], 0.0)

    assert granted(verdicts) == [1]
    assert queue.expire(1000.0) == []
    assert granted(queue.ended(1, 1000.0)) == [2]


def test_a_swarm_is_refused_if_one_of_its_models_is_busy_for_longer_than_its_budget() -> None:
    queue = serving()
    queue.ready("b", ONE_SLOT, 0.0)
    queue.enter(100, facts("b", max_tokens=4000), 0.0)

    verdicts = queue.enter_gang(members("ab", budget_s=10.0), [], 0.0)

    assert reasons(verdicts) == {"queue_timeout"}
    assert granted(verdicts) == []


def test_a_swarm_that_has_not_begun_within_its_budget_is_refused_as_one() -> None:
    queue = AdmissionQueue[int]()
    queue.enter_gang(members("aab", budget_s=20.0), members("b", 4), 0.0)

    assert queue.next_deadline == 20.0
    verdicts = queue.expire(20.0)

    assert [v.ticket for v in verdicts if isinstance(v, Refused)] == [1, 2, 3]
    assert reasons(verdicts) == {"queue_timeout"}
    assert queue.held == (4,)  # its session will leave


def test_once_one_branch_runs_the_others_are_waited_for() -> None:
    queue = serving()
    queue.enter_gang(members("ab", budget_s=20.0), [], 0.0)

    assert queue.next_deadline == math.inf
    assert queue.expire(100.0) == []
    assert granted(queue.ready("b", ONE_SLOT, 120.0)) == [2]


def test_the_deadline_of_a_member_counts_also_when_its_gang_has_begun() -> None:
    queue = serving()
    deadlines = {1: 20.0, 2: 30.0}
    queue.enter_gang([(t, facts(deadline=d, gang="g")) for t, d in deadlines.items()], [], 0.0)

    assert queue.next_deadline == 30.0
    assert reasons(queue.expire(30.0)) == {"deadline_exceeded"}


# --- held ones ---


def test_a_judge_takes_a_place_is_not_granted_and_wants_nothing_until_it_is_eligible() -> None:
    queue = serving(TWO_SLOTS, Limits(queue_max_per_model=2))

    assert granted(queue.enter_gang(members("a"), members("ab", 2), 0.0)) == [1]
    assert queue.view(0.0).models["b"].phase is Phase.COLD
    assert queue.view(0.0).models["a"].promised == 1
    assert granted(queue.enter(10, facts(), 0.0)) == [10]  # what runs at once is let in
    assert queue.enter(11, facts(), 0.0) == []
    assert reasons(queue.enter(12, facts(), 0.0)) == {"queue_overloaded_model"}
    queue.ended(1, 1.0)  # ticket 11 runs
    queue.enter(13, facts(), 1.0)
    assert queue.eligible(2, facts("a", 1.0, gang="g"), 1.0) == []
    assert queue.eligible(3, facts("b", 1.0, gang="g"), 1.0) == [Want("b")]
    assert queue.eligible(3, facts("b", 1.0, gang="g"), 1.0) == []
    assert set(queue.waiting) == {13, 2, 3}


def test_a_judge_is_charged_and_checked_by_its_final_prompt() -> None:
    queue = serving(Capacity(4, 0, 0, context_tokens=2000))
    queue.enter_gang(members("a"), members("aa", 2), 0.0)

    assert reasons(queue.eligible(2, facts(max_tokens=2001, gang="g"), 1.0)) == {
        "request_too_large"
    }
    assert granted(queue.eligible(3, facts(max_tokens=50, gang="g"), 1.0)) == [3]


def test_a_judge_whose_deadline_has_come_is_refused_and_not_run() -> None:
    queue = serving(TWO_SLOTS)
    queue.enter_gang(members("a"), [(2, facts(deadline=5.0, gang="g"))], 0.0)

    verdicts = queue.eligible(2, facts(arrived=6.0, deadline=5.0, gang="g"), 6.0)

    assert reasons(verdicts) == {"deadline_exceeded"}
    assert queue.running == (1,)


def test_a_held_ticket_that_leaves_gives_its_place_back() -> None:
    queue = serving(limits=Limits(queue_max_per_model=1))
    queue.enter_gang(members("a"), members("a", 2), 0.0)

    assert queue.leave(2, 1.0) == []
    assert queue.enter(3, facts(), 1.0) == []
    assert queue.held == ()


def test_a_model_that_breaks_refuses_its_members_only() -> None:
    queue = serving()
    queue.enter_gang(members("aabb"), members("b", 5), 0.0)

    verdicts = queue.failed("b", "model_load_failed", "no weights", None, 1.0)

    assert [v.ticket for v in verdicts if isinstance(v, Refused)] == [3, 4]
    assert queue.running == (1,)
    assert queue.waiting == (2,)
    assert queue.held == (5,)


def test_when_the_first_success_leaves_the_others_are_cancelled_or_forgotten() -> None:
    queue = serving(TWO_SLOTS)
    queue.enter_gang(members("aaab"), members("a", 5), 0.0)

    assert queue.leave(1, 1.0) == [Cancel(1)]
    assert queue.leave(3, 1.0) == []
    assert queue.leave(4, 1.0) == [Unwant("b")]
    assert queue.leave(5, 1.0) == []
    assert (queue.waiting, queue.held) == ((), ())


# --- which model comes first ---


@pytest.mark.parametrize(
    ("ready", "branches", "judge", "order"),
    [
        ("", "abab", "", "ab"),
        ("", "abb", "", "ba"),  # most branches
        ("", "aab", "a", "ba"),  # the judge's model last: it is there then
        ("b", "aab", "b", "ba"),  # resident before all
        ("", "cab", "b", "cab"),
    ],
)
def test_the_order_of_a_gangs_models(ready: str, branches: str, judge: str, order: str) -> None:
    queue = AdmissionQueue[int]()
    for model in "abc":  # known in another order
        queue.gone(model, 0.0)
    for model in ready:
        queue.ready(model, ONE_SLOT, 0.0)

    verdicts = queue.enter_gang(members(branches), members(judge, 10), 0.0)

    wanted = [v.model for v in verdicts if isinstance(v, Want)]
    assert wanted == [model for model in order if model not in ready]


def half_done() -> AdmissionQueue[int]:
    """Room for one: a serves the first of the gang's three, b is wanted by the gang only."""
    queue = serving()
    assert queue.enter_gang(members("aaab"), [], 0.0) == [Granted(1, 0.0), Want("b")]
    assert queue.make_room("b", ["a"], 0.0) == []
    return queue


def test_a_gangs_second_model_makes_nobody_go_who_still_serves_its_first() -> None:
    queue = half_done()

    queue.expire(50.0)
    assert granted(queue.ended(1, 50.0)) == [2]
    assert queue.view(50.0).swaps[0].due_in_s > 0
    assert granted(queue.ended(2, 60.0)) == [3]  # the last one: now it is the others' turn

    assert queue.view(60.0).models["a"].phase is Phase.DRAINING
    assert queue.ended(3, 61.0) == [Drained("a")]


def test_somebody_else_who_waits_for_the_second_model_gets_it_in_time() -> None:
    queue = half_done()
    queue.enter(100, facts("b", 10.0, key="bob"), 10.0)

    assert queue.next_deadline == 15.0
    queue.expire(15.0)
    assert queue.view(15.0).models["a"].phase is Phase.DRAINING


def test_somebody_who_waits_for_a_third_model_is_not_kept_behind_the_gangs_second() -> None:
    """The evictor makes room in the order of wants: c comes after b."""
    queue = half_done()
    assert queue.enter(100, facts("c", 10.0, key="bob"), 10.0) == [Want("c")]

    assert queue.next_deadline == 15.0
    queue.expire(15.0)
    assert queue.view(15.0).models["a"].phase is Phase.DRAINING


def test_predictions_are_finite_while_a_swap_waits_for_a_gang() -> None:
    queue = half_done()

    view = queue.view(1.0)
    assert 0 < view.swaps[0].due_in_s < math.inf
    assert all(waiting.predicted_wait_s < math.inf for waiting in view.waiting)
    assert [waiting.gang for waiting in view.waiting] == ["g", "g", "g"]
    assert queue.predict(facts("b"), 1.0).wait_s < math.inf


# --- after a crash ---


def test_members_that_ask_again_are_let_in_whatever_the_bounds_and_as_eligible_as_they_were() -> (
    None
):
    queue = AdmissionQueue[int](Limits(queue_max_per_model=1), rebuilding=True)
    for ticket, known in members("aaa"):
        assert queue.rejoin(ticket, known, 0.0) == []
    assert queue.rejoin(4, facts(gang="g"), 0.0, eligible=False) == []
    queue.census("a", True, ONE_SLOT, [(1, facts(gang="g"))], 0.0)

    queue.begin(0.0)

    assert queue.running == (1,)
    assert (queue.waiting, queue.held) == ((2, 3), (4,))
    assert queue.eligible(4, facts(arrived=1.0, gang="g"), 1.0) == []
    assert queue.waiting == (2, 3, 4)


def test_an_eligible_ticket_that_was_forgotten_is_let_in() -> None:
    assert granted(serving().eligible(2, facts(gang="g"), 0.0)) == [2]


# --- the laws, in a small world ---


@attrs.frozen
class Swarm:
    at: float
    key: str
    klass: Class
    branches: str
    judge: str
    service_s: float


@attrs.define(eq=False)
class GangWorld(World):
    """Swarms among single requests; a judge is eligible when the last branch has ended."""

    swarms: list[Swarm] = attrs.field(factory=list[Swarm])
    singles: int = 0
    tickets: list[list[int]] = attrs.field(factory=list[list[int]])  # of each swarm
    _left: dict[int, set[int]] = attrs.field(factory=dict[int, set[int]])  # branches that run on
    _eligible_at: dict[int, float] = attrs.field(factory=dict[int, float])

    def _schedule(self) -> None:
        super()._schedule()
        self._events = [e for e in self._events if e[2] != "arrive"]
        self.singles = len(self.arrivals)
        for ticket in range(self.singles):
            self._at(self.arrivals[ticket].at, "arrive", ticket)
        for number, swarm in enumerate(self.swarms):
            first = len(self.arrivals)
            self.arrivals += [
                Arrival(swarm.at, model, swarm.key, swarm.klass, 0, swarm.service_s)
                for model in swarm.branches + swarm.judge
            ]
            self.tickets.append(list(range(first, len(self.arrivals))))
            self._left[number] = set(self.tickets[number][: len(swarm.branches)])
            self._at(swarm.at, "swarm", number)
            for ticket in self._left[number]:
                self._look_when_overdue(ticket, swarm.at)

    def _facts(self, ticket: int, number: int) -> Facts:
        a = self.arrivals[ticket]
        return facts(a.model, self.now, key=a.key, klass=a.klass, gang=str(number))

    def _on(self, name: str, subject: int | str) -> None:
        super()._on(name, subject)
        if name == "swarm":
            number = int(subject)
            known = [(ticket, self._facts(ticket, number)) for ticket in self.tickets[number]]
            branches = len(self.swarms[number].branches)
            verdicts = self._queue.enter_gang(known[:branches], known[branches:], self.now)
            self._apply(verdicts)
        elif name == "end":
            for number, left in self._left.items():
                if subject in left:
                    left.discard(int(subject))
                    if not left:
                        self._let_the_judge(number)

    def _let_the_judge(self, number: int) -> None:
        for ticket in self.tickets[number][len(self.swarms[number].branches) :]:
            self._look_when_overdue(ticket, self.now)
            self._apply(self._queue.eligible(ticket, self._facts(ticket, number), self.now))


@pytest.mark.parametrize("judge", ["", "a", "b"])
@pytest.mark.parametrize("branches", ["abab", "aaab", "baaba"])
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_with_room_for_one_model_a_vote_loads_each_once(
    branches: str, judge: str, slots: int
) -> None:
    world = GangWorld(
        [], Capacity(slots, 0, 0), Limits(), load_s=5.0, one_place=True,
        swarms=[Swarm(0.0, "ann", Class.NORMAL, branches, judge, 20.0)],
    ).run()  # fmt: skip

    assert len(world.waits) == len(branches + judge)
    assert world.loads == 2


@pytest.mark.parametrize("resident", ["a", "b"])
@pytest.mark.parametrize("judge", ["", "a", "b"])
def test_the_model_that_is_there_goes_first(resident: str, judge: str) -> None:
    world = GangWorld(
        [Arrival(0.0, resident, "bob", Class.NORMAL, 0, 1.0)],
        Capacity(1, 0, 0), Limits(), load_s=5.0, one_place=True,
        swarms=[Swarm(20.0, "ann", Class.NORMAL, "abab", judge, 20.0)],
    ).run()  # fmt: skip

    # Only a judge on the model that was there has to fetch it back.
    assert world.loads == (3 if judge == resident else 2)


SWARMS = st.lists(
    st.builds(
        Swarm,
        at=st.floats(0.0, 60.0),
        key=st.sampled_from("vwx"),
        klass=st.sampled_from(Class),
        branches=st.text("abc", min_size=1, max_size=5),
        judge=st.text("abc", max_size=1),
        service_s=st.floats(0.5, SERVICE_S),
    ),
    min_size=1,
    max_size=20,
)


def assert_gangs_are_whole_and_all_waits_bounded(world: GangWorld, slots: int, models: int) -> None:
    for tickets in world.tickets:
        refused = world.refused.intersection(tickets)
        assert not refused or refused == set(tickets)
        assert refused or set(tickets) <= world.waits.keys()
    assert len(world.waits) + len(world.refused) == len(world.arrivals)
    gang_of = {t: n for n, tickets in enumerate(world.tickets) for t in tickets}
    for ticket, waited_s in world.waits.items():
        arrival = world.arrivals[ticket]
        mine = [a for a in world.arrivals if (a.key, a.model) == (arrival.key, arrival.model)]
        number = gang_of.get(ticket)
        own = world.own.get(ticket, 1) if number is None else len(mine)
        turns = 1 if number is None else len(set(world.swarms[number].branches))
        bound_s = longest_wait_s(
            world.limits,
            arrival.klass,
            slots=slots,
            service_s=SERVICE_S,
            own=own,
            keys=len({a.key for a in world.arrivals if a.model == arrival.model}),
            models=models,
            load_s=world.load_s,
            gang_models=turns,
        )
        assert waited_s <= bound_s + 1e-6


@given(gaps=ARRIVALS, swarms=SWARMS, slots=st.integers(1, 3), one_place=st.booleans())
@settings(max_examples=200)
def test_swarms_and_single_requests_keep_each_others_bounds(
    gaps: Gaps, swarms: list[Swarm], slots: int, one_place: bool
) -> None:
    world = GangWorld(
        traffic(gaps, "abc"),
        Capacity(slots, 0, 0),
        Limits(queue_max_per_model=8, ageing_s=2.0, min_residence_s=1.0, collate_s=3.0),
        load_s=4.0,
        one_place=one_place,
        swarms=swarms,
    ).run()

    assert_gangs_are_whole_and_all_waits_bounded(world, slots, models=3 if one_place else 1)


def test_twenty_swarms_at_once_and_single_requests_do_not_starve_each_other() -> None:
    draw = random.Random(4)
    singles = [
        Arrival(5.0 * n, draw.choice("ab"), "single", Class.NORMAL, 0, 3.0) for n in range(40)
    ]
    swarms = [Swarm(0.0, f"k{n % 4}", Class.NORMAL, "abab", "ab"[n % 2], 5.0) for n in range(20)]
    world = GangWorld(
        singles, Capacity(8, 0, 0), Limits(queue_max_per_model=0, queue_max_total=0),
        load_s=5.0, one_place=True, swarms=swarms,
    ).run()  # fmt: skip

    assert not world.refused
    assert len(world.waits) == 140
    assert_gangs_are_whole_and_all_waits_bounded(world, 8, models=2)
    # Two turns away and back (collation, answers, load) for the unluckiest, whatever swarms do.
    assert max(world.waits[ticket] for ticket in range(40)) <= 2 * 2 * (5 + 5 + 5)
    # 100 answers of 5 s on 8 places take 65 s, and the swaps about as long again.
    assert max(world.waits[ticket] for ticket in range(40, 140)) <= 150
