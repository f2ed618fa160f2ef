"""Swarms at the admission actor: the real actors but for the engine, on the mock clock."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Limits
from lattice_actors.engine.news import EngineRefusedLoad
from lattice_actors.errors import (
    BadRequest,
    LatticeError,
    LoadFailed,
    ModelCrashed,
    QueueRefused,
)
from lattice_actors.generation import Chat, Finish, Job
from tests.actors.house import LOAD_S, FakePlan, House, open_house

QUICK = Limits(queue_max_per_model=0, queue_max_total=0, min_residence_s=5, collate_s=20)


def tickets(
    models: str, tokens: int = 3, *, patience_s: float = 600.0, key: str = "swarm"
) -> list[Ticket]:
    """One for each letter."""
    now = trio.current_time()
    job = Job(Chat(({"role": "user", "content": "hello"},)), tokens)
    return [
        Ticket(f"r-{n}", model, job, 5, now, now + patience_s, key=key)
        for n, model in enumerate(models)
    ]


async def answer(house: House, ticket: Ticket) -> str:
    """Wait for the grant and read to the end; raises what the branch would see."""
    text: list[str] = []
    async with house.lattice.admission.grant(ticket):
        while True:
            for event in await ticket.stream.receive():
                if isinstance(event, Finish):
                    return "".join(text)
                text.append(event.text)


@attrs.define(eq=False)
class Session:
    """A vote: branches side by side, then a judge."""

    house: House
    branches: list[Ticket]
    judge: list[Ticket]
    answers: dict[Ticket, str] = attrs.field(factory=dict[Ticket, str])
    errors: dict[Ticket, LatticeError] = attrs.field(factory=dict[Ticket, LatticeError])

    async def run(self) -> None:
        admission = self.house.lattice.admission
        async with admission.gang(self.branches, self.judge):
            await self._together(self.branches)
            for ticket in self.judge:
                admission.eligible(ticket)
            await self._together(self.judge)

    async def _together(self, members: list[Ticket]) -> None:
        async with trio.open_nursery() as nursery:
            for ticket in members:
                nursery.start_soon(self._branch, ticket)

    async def _branch(self, ticket: Ticket) -> None:
        try:
            self.answers[ticket] = await answer(self.house, ticket)
        except LatticeError as error:
            self.errors[ticket] = error


async def nothing_is_left(house: House) -> bool:
    view = await house.lattice.admission.view()
    promised = sum(model.promised for model in view.models.values())
    return view.waiting == () and promised == 0 and set((await house.running()).values()) <= {0}


@pytest.mark.parametrize("judge", ["", "a", "b"])
async def test_a_vote_over_two_models_with_room_for_one_loads_each_once(
    autojump_clock: MockClock, judge: str
) -> None:
    async with open_house(max_models=1) as house:
        session = Session(house, tickets("abab", 40), tickets(judge))

        await session.run()

        assert len(session.answers) == 4 + len(judge)
        assert len(house.starts) == 2
        assert await nothing_is_left(house)


async def test_a_swarm_without_room_is_refused_once_and_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(queue_max_per_model=4, ageing_s=100)
    async with open_house(limits=limits) as house, trio.open_nursery() as nursery:
        await house.ask("a")
        for _ in range(10):
            nursery.start_soon(house.ask, "a", 100)
        await wait_all_tasks_blocked()

        with pytest.raises(QueueRefused) as caught:
            await Session(house, tickets("bbaa"), tickets("a")).run()

        assert caught.value.code == "queue_overloaded_model"
        assert (caught.value.retry_after_s or 0) > 1
        assert caught.value.queue is not None
        assert caught.value.queue.queued_for_model == 2
        assert house.starts == ["start a"]
        assert len((await house.lattice.admission.view()).waiting) == 2
        nursery.cancel_scope.cancel()


async def test_a_swarm_that_is_too_large_for_any_time_is_the_callers_mistake(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        with pytest.raises(BadRequest, match="needs 100 places in the queue for a, which has 32"):
            await Session(house, tickets("a" * 100), []).run()

        assert await nothing_is_left(house)


async def test_a_branch_whose_model_is_broken_is_told_so_even_if_it_asks_late(
    autojump_clock: MockClock,
) -> None:
    plan = FakePlan(load_faults={"b": EngineRefusedLoad("truncated", permanent=True)})
    async with open_house(plan=plan) as house:
        branches = tickets("ab")
        async with house.lattice.admission.gang(branches):
            await trio.sleep(60)  # meanwhile a has answered into its stream, and b has failed

            with pytest.raises(LoadFailed, match="truncated"):
                await answer(house, branches[1])
            assert await answer(house, branches[0]) == "xxx"

        assert await nothing_is_left(house)


async def test_the_first_success_frees_the_rest_while_the_swarm_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        branches, judge = tickets("aabb", 500), tickets("a")
        async with house.lattice.admission.gang(branches, judge):
            async with trio.open_nursery() as nursery:
                for ticket in branches:
                    nursery.start_soon(answer, house, ticket)
                await trio.sleep(30)
                assert await house.running() == {"a": 2, "b": 2}
                nursery.cancel_scope.cancel()
            await trio.sleep(1.5)  # a step of the engine
            assert await house.running() == {"a": 0, "b": 0}
            house.lattice.admission.eligible(judge[0])
            assert await answer(house, judge[0]) == "xxx"


async def test_who_never_comes_for_a_grant_loses_it_with_the_gang(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        async with house.lattice.admission.gang(tickets("a" * 10, 500), tickets("b")):
            await trio.sleep(20)
            assert await house.running() == {"a": 8, "b": 0}
        house.lattice.admission.eligible(tickets("b")[0])  # of no gang: nothing
        await trio.sleep(1.5)

        assert await nothing_is_left(house)
        assert house.starts == ["start a"]


async def test_a_ticket_that_left_cannot_become_eligible(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        judge = tickets("a")
        async with house.lattice.admission.gang([], judge):
            pass
        house.lattice.admission.eligible(judge[0])
        await trio.sleep(20)

        assert house.starts == []
        assert await nothing_is_left(house)


async def test_an_empty_gang_is_nothing(autojump_clock: MockClock) -> None:
    async with open_house() as house, house.lattice.admission.gang([]):
        pass


async def test_the_view_says_which_tickets_are_one_gang(autojump_clock: MockClock) -> None:
    async with open_house() as house, house.lattice.admission.gang(tickets("ab"), tickets("a")):
        view = await house.lattice.admission.view()

        assert {waiting.gang for waiting in view.waiting} == {view.waiting[0].ticket.gang.id}  # type: ignore[union-attr]
        assert view.models["a"].promised == 1


async def with_twenty_swarms(
    house: House, meanwhile: Callable[[], Awaitable[None]]
) -> tuple[list[Session], list[float]]:
    """Run swarms over three models with room for one, and single requests between them."""
    draw = random.Random(3)
    sessions = [
        Session(house, tickets(draw.choice(["abab", "bca", "aabc"]), 4), tickets(draw.choice("ab")))
        for _ in range(20)
    ]
    waits: list[float] = []

    async def single() -> None:
        try:
            waits.append((await house.ask(draw.choice("ab"), 2, key="single"))[1])
        except ModelCrashed:  # its model actor was killed
            waits.append(0.0)

    with trio.fail_after(5000):
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(session.run)
            await wait_all_tasks_blocked()
            nursery.start_soon(meanwhile)
            for _ in range(20):
                await trio.sleep(10)
                nursery.start_soon(single)
    return sessions, waits


async def test_twenty_swarms_with_judges_neither_deadlock_nor_starve_single_requests(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_models=1, limits=QUICK) as house:
        sessions, waits = await with_twenty_swarms(house, trio.lowlevel.checkpoint)

        assert all(not session.errors for session in sessions)
        assert all(len(session.answers) >= 4 for session in sessions)
        assert len(waits) == 20
        # Three models take turns: collation, the last answers, reap and load; twice at the most.
        assert max(waits) <= 2 * 3 * (20 + 4 + 0.5 + LOAD_S) + 5
        assert await nothing_is_left(house)


@pytest.mark.parametrize("victim", ["admission", "evictor", "a"])
async def test_an_actor_that_dies_takes_no_member_of_a_gang_with_it(
    autojump_clock: MockClock, victim: str
) -> None:
    async with open_house(max_models=1, limits=QUICK) as house:

        async def kill() -> None:
            for pause_s in (0.0, 7.0, 25.0):
                await trio.sleep(pause_s)
                mailboxes: dict[str, Any] = {
                    "admission": house.lattice.admission._mailbox,
                    "evictor": house.lattice.evictor._mailbox,
                    "a": house.lattice.models.of("a")._mailbox,
                }
                mailboxes[victim].tell("not a message of yours")

        sessions, waits = await with_twenty_swarms(house, kill)

        assert len(waits) == 20
        for session in sessions:
            assert len(session.answers) + len(session.errors) >= 4
            assert victim == "a" or set(session.answers.values()) <= {"xxxx", "xxx"}
            assert victim == "a" or not session.errors
        assert await nothing_is_left(house)


WISHES = st.tuples(
    st.text("abc", min_size=1, max_size=5),
    st.text("ab", max_size=1),
    st.integers(1, 6),  # tokens
    st.sampled_from([0, 0, 0.5, 1, 3, 6]),  # seconds until the next swarm
    st.sampled_from([0.0, 0.5, 4.0, 7.0, 12.0, 30.0, 800.0]),  # when its client leaves
)


@given(
    places=st.integers(1, 2),
    wishes=st.lists(WISHES, min_size=1, max_size=10),
    kills=st.lists(st.floats(0.0, 20.0), max_size=3),
)
@settings(max_examples=40)
def test_swarms_whose_clients_leave_at_any_time_leave_nothing_behind(
    places: int, wishes: list[tuple[str, str, int, float, float]], kills: list[float]
) -> None:
    ended = 0

    async def swarm(house: House, branches: str, judge: str, tokens: int, stays_s: float) -> None:
        nonlocal ended
        with trio.move_on_after(stays_s):
            try:
                session = Session(house, tickets(branches, tokens), tickets(judge, tokens))
                await session.run()
                assert len(session.answers) + len(session.errors) == len(branches + judge)
                assert not session.errors
            except QueueRefused:
                assert not session.answers
        ended += 1

    async def kill(house: House) -> None:
        for pause_s in kills:
            await trio.sleep(pause_s)
            mailbox: Any = house.lattice.admission._mailbox
            mailbox.tell("not a message of yours")

    async def story() -> None:
        limits = Limits(min_residence_s=5, collate_s=20, ageing_s=100, queue_max_per_model=8)
        async with (
            open_house(max_models=places, limits=limits) as house,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(kill, house)
            for branches, judge, tokens, pause_s, stays_s in wishes:
                nursery.start_soon(swarm, house, branches, judge, tokens, stays_s)
                await trio.sleep(pause_s)
            await trio.sleep(810.0)  # far beyond any wait
            assert ended == len(wishes)
            assert await nothing_is_left(house)

    trio.run(story, clock=MockClock(autojump_threshold=0))


async def test_the_end_of_the_program_ends_a_swarm_in_any_phase(autojump_clock: MockClock) -> None:
    sessions = []
    async with trio.open_nursery() as nursery, open_house(max_models=1) as house:
        for _ in range(3):
            sessions.append(Session(house, tickets("ab", 500), tickets("b")))
            nursery.start_soon(sessions[-1].run)
        await trio.sleep(20)

    assert all(len(session.errors) == 3 for session in sessions)
