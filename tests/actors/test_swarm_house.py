"""Swarms among the real scheduling actors, with engines that are fakes, on the mock clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Limits
from lattice_actors.capability.question import Ask, NoRoute, Route
from lattice_actors.generation import Chat, Grammar, Job, JsonObject, Sampling
from lattice_actors.swarm import host as swarm_host
from lattice_actors.swarm.asks import (
    Agent,
    Debate,
    Ensemble,
    Manner,
    Pipeline,
    Step,
    Strategy,
    SwarmAsk,
)
from lattice_actors.swarm.events import Outcome
from lattice_actors.swarm.session import SwarmSession, open_swarm
from tests.actors.house import LOAD_S, STEP_S, House, open_house
from tests.actors.swarming import events_of

USER = ({"role": "user", "content": "why?"},)


@attrs.frozen
class HouseHost:
    """A host for swarms in a house of fakes. Engines there say an x a token and know no grammar."""

    house: House
    key: str = "anonymous"
    patience_s: float = 3600.0
    generation_timeout_s: float = 300.0

    async def inventory(self) -> swarm_host.Inventory:
        await trio.lowlevel.checkpoint()
        return swarm_host.Inventory(available=tuple("abc"))

    async def route(self, spec: str, messages: Sequence[JsonObject]) -> Route | NoRoute:
        route, _ = await self.house.lattice.route(Ask(spec, allow_fallback=False))
        return route

    def ticket(
        self,
        route: Route,
        messages: Sequence[JsonObject],
        manner: Manner,
        *,
        grammar: Grammar | None = None,
        logprobs: int | None = None,
        thinking: bool = True,
    ) -> Ticket:
        now = trio.current_time()
        job = Job(
            Chat(tuple(messages)), manner.max_tokens or 3, sampling=Sampling(), grammar=grammar
        )
        size = len(str(messages))
        return Ticket("r", route.model, job, size, now, now + self.patience_s, key=self.key)

    def context_tokens(self, route: Route) -> int:
        return 8192

    def constrains(self, route: Route) -> bool:
        return True


def vote(*specs: str, strategy: Strategy = Strategy.BEST_OF_N, judge: str = "a") -> Ensemble:
    agents = tuple(Agent(spec, plain=False) for spec in specs)
    return Ensemble(agents, USER, strategy, judge=judge)


async def hold(house: House, ask: SwarmAsk) -> Outcome:
    async with open_swarm(ask, HouseHost(house), house.lattice.admission) as session:
        outcome = (await events_of(session))[-1]
    assert isinstance(outcome, Outcome)
    return outcome


async def assert_nothing_runs(house: House) -> None:
    await trio.sleep(2 * STEP_S)  # an engine lets go within one step
    await wait_all_tasks_blocked()
    view = await house.lattice.admission.view()
    assert not view.waiting
    assert not any((await house.running()).values())


async def test_a_vote_over_two_models_in_room_for_one_loads_each_once(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_models=1) as house:
        outcome = await hold(house, vote("b", "a", "b", "a", judge="a"))

        assert [row.ok for row in outcome.rows] == [True] * 4
        assert sorted(house.starts) == ["start a", "start b"]
        await assert_nothing_runs(house)


async def test_a_debate_in_room_for_one_model_comes_to_its_end(autojump_clock: MockClock) -> None:
    async with open_house(max_models=1) as house:
        debate = Debate((Agent("a"), Agent("b")), USER, rounds=3, judge="c")
        outcome = await hold(house, debate)

        assert len(outcome.rows) == 6
        assert all(row.ok for row in outcome.rows)
        assert outcome.model == "c"
        await assert_nothing_runs(house)


async def test_a_pipeline_runs_over_several_models(autojump_clock: MockClock) -> None:
    async with open_house(max_models=1) as house:
        steps = (Step("one", "a"), Step("two", "b"), Step("three", "a", user="{{one}}{{two}}"))
        outcome = await hold(house, Pipeline(steps, USER, manner=Manner(max_tokens=4)))

        assert outcome.text == "xxxx"
        await assert_nothing_runs(house)


async def test_losers_are_off_their_engines_within_one_step(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.ask("a")
        ask = attrs.evolve(
            vote("a", "a", "a", strategy=Strategy.FIRST_SUCCESS), manner=Manner(max_tokens=100)
        )
        async with open_swarm(ask, HouseHost(house), house.lattice.admission) as session:
            while not any(
                type(event).__name__ == "AnswerPiece" for event in await session.receive()
            ):
                pass
            await trio.sleep(STEP_S * 1.5)
            await wait_all_tasks_blocked()
            running = (await house.running())["a"]

        assert running == 1
        await assert_nothing_runs(house)


async def test_an_engine_that_is_killed_is_a_row_and_the_vote_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        for model in "ab":
            await house.ask(model)
        ask = attrs.evolve(vote("a", "b", strategy=Strategy.LONGEST), manner=Manner(max_tokens=10))
        async with open_swarm(ask, HouseHost(house), house.lattice.admission) as session:
            await trio.sleep(4 * STEP_S)
            house.plan.engines["b"].crash()
            outcome = (await events_of(session))[-1]

        assert isinstance(outcome, Outcome)
        assert [row.error_kind for row in outcome.rows] == [None, "model_crashed"]
        assert 0 < len(outcome.rows[1].text) < 10
        assert outcome.text == "x" * 10
        await assert_nothing_runs(house)


@pytest.mark.parametrize(
    "leave_after_s",
    [0.0, LOAD_S / 2, LOAD_S + STEP_S, 2 * LOAD_S + 3 * STEP_S, 2 * LOAD_S + 6 * STEP_S, math.inf],
)
@pytest.mark.parametrize("kind", ["vote", "debate", "pipeline"])
async def test_leaving_in_any_phase_leaves_no_ghost(
    kind: str, leave_after_s: float, autojump_clock: MockClock
) -> None:
    asks: dict[str, SwarmAsk] = {
        "vote": vote("a", "b", "c"),
        "debate": Debate((Agent("a"), Agent("b")), USER, rounds=2, judge="a"),
        "pipeline": Pipeline((Step("one", "a"), Step("two", "b"), Step("three", "c")), USER),
    }
    async with open_house(max_models=1) as house:
        with trio.move_on_after(min(leave_after_s, 1000)):
            await hold(house, asks[kind])

        await assert_nothing_runs(house)
        assert (await house.ask("a"))[0] == "xxx"


async def test_twenty_swarms_neither_deadlock_nor_starve_single_requests(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(
        queue_max_per_model=1000,
        queue_max_total=2000,
        min_residence_s=20,
        collate_s=60,
        ageing_s=100,
    )
    waits: list[float] = []
    done: list[Outcome] = []
    async with open_house(max_models=2, limits=limits) as house:

        async def swarm(number: int) -> None:
            agents = [("a", "b"), ("b", "c", "b"), ("c", "a", "c", "a")][number % 3]
            done.append(await hold(house, vote(*agents, judge="abc"[number % 3])))

        async def single(number: int) -> None:
            await trio.sleep(5 * number)
            waits.append((await house.ask("abc"[number % 3], patience_s=3600, key="other"))[1])

        with trio.fail_after(3600):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(swarm, number)
                for number in range(10):
                    nursery.start_soon(single, number)

        assert len(done) == 20
        assert all(row.ok for outcome in done for row in outcome.rows)
        assert max(waits) < 600
        await assert_nothing_runs(house)


async def test_a_branch_that_is_stopped_leaves_the_others_text_unchanged(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        await house.ask("a")
        ask = attrs.evolve(
            vote("a", "a", "a", strategy=Strategy.FANOUT), manner=Manner(max_tokens=8)
        )
        session: SwarmSession
        async with open_swarm(ask, HouseHost(house), house.lattice.admission) as session:
            await trio.sleep(3 * STEP_S)
            assert session.cancel_branch(1)
            outcome = (await events_of(session))[-1]

        assert isinstance(outcome, Outcome)
        assert [row.error_kind for row in outcome.rows] == [None, "cancelled", None]
        assert [row.text for row in outcome.rows if row.ok] == ["x" * 8] * 2
        await assert_nothing_runs(house)
