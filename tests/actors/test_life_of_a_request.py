"""The scheduling actors together, real but for the engine, on the mock clock."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.admission.verdicts import Limits
from lattice_actors.capability.question import Ask, Route
from lattice_actors.catalog.entry import Kind, Snapshot
from lattice_actors.engine.news import EngineRefusedLoad
from lattice_actors.errors import (
    LoadFailed,
    ModelCrashed,
    ModelNotFound,
    ModelQuarantined,
    NotFound,
    OutOfMemory,
    QueueRefused,
    RequestCrashesEngine,
)
from lattice_actors.generation import Embed
from tests.actors.house import LOAD_S, FakePlan, open_house


async def test_a_cold_model_is_loaded_once_for_all_who_wait(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        answers: list[tuple[str, float]] = []

        async def ask() -> None:
            answers.append(await house.ask("a"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)

        assert [text for text, _ in answers] == ["xxx"] * 5
        assert house.starts == ["start a"]


async def test_a_burst_of_requests_finds_the_actors_mailboxes_large_enough(
    autojump_clock: MockClock,
) -> None:
    """What a burst is refused for is the queue, which says when to come back; not a mailbox."""
    async with open_house() as house:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(1000):  # as many as there may be connections
                    nursery.start_soon(house.lattice.route, Ask("a"))
                    nursery.start_soon(house.lattice.evictor.view)


async def test_a_slot_is_free_again_after_each_way_to_leave(autojump_clock: MockClock) -> None:
    """Left while loading, while queued behind a full model, and while being answered."""
    async with open_house(limits=Limits(ageing_s=100)) as house:
        with trio.move_on_after(LOAD_S / 2):
            await house.ask("a")
        async with trio.open_nursery() as nursery:
            for _ in range(12):  # eight run, four wait
                nursery.start_soon(house.ask, "a", 5000)
            await trio.sleep(60)
            assert await house.running() == {"a": 8}
            nursery.cancel_scope.cancel()
        await trio.sleep(2)

        assert await house.running() == {"a": 0}
        assert (await house.lattice.admission.view()).waiting == ()


async def test_a_model_with_grants_is_not_evicted(autojump_clock: MockClock) -> None:
    async with open_house(max_models=1) as house, trio.open_nursery() as nursery:
        nursery.start_soon(house.ask, "a", 300)
        await trio.sleep(20)
        await house.ask("b")

        journal = house.plan.journal
        assert journal == ["start a", "reaped a", "start b"]
        assert trio.current_time() > 300


async def test_two_models_that_alternate_do_not_swap_on_every_request(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(min_residence_s=20, collate_s=60, ageing_s=100)
    async with open_house(max_models=1, limits=limits) as house:
        waits: list[float] = []

        async def ask(model: str) -> None:
            _, queued_s = await house.ask(model)
            waits.append(queued_s)

        async with trio.open_nursery() as nursery:
            for turn in range(100):
                nursery.start_soon(ask, "ab"[turn % 2])
                await trio.sleep(2)

        assert len(waits) == 100
        assert len(house.starts) <= 12  # a swap a request would be 100
        # A turn away: collation, the running answers, the reap, the load; then the way back.
        assert max(waits) <= 2 * (60 + 3 + 0.5 + LOAD_S) + 10


async def test_an_unload_waits_for_the_answers_and_newcomers_for_the_reload(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        nursery.start_soon(house.ask, "a", 30)
        await trio.sleep(10)

        unloaded = await house.lattice.evictor.unload("a")
        text, queued_s = await house.ask("a")

        assert unloaded.deferred
        assert text == "xxx"
        assert queued_s > 20
        assert house.plan.journal == ["start a", "reaped a", "start a"]


async def test_an_idle_model_is_unloaded_at_once_and_answers_when_it_is_reaped(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        await house.ask("a")
        await wait_all_tasks_blocked()

        unloaded = await house.lattice.evictor.unload("a")

        assert not unloaded.deferred
        assert unloaded.resident == ()
        assert house.plan.journal == ["start a", "reaped a"]
        with pytest.raises(NotFound):
            await house.lattice.evictor.unload("a")


async def test_an_operators_load_is_answered_though_the_next_want_takes_the_model_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_models=1) as house, trio.open_nursery() as nursery:
        nursery.start_soon(house.ask, "a", 1)
        await trio.sleep(LOAD_S / 2)
        nursery.start_soon(house.ask, "b", 1)
        await wait_all_tasks_blocked()

        with trio.fail_after(LOAD_S):
            await house.lattice.evictor.load("a")


async def test_an_operators_load_is_answered_when_the_model_is_unloaded_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:

        async def unload() -> None:
            await trio.sleep(LOAD_S / 2)
            await house.lattice.evictor.unload("a")

        nursery.start_soon(unload)
        with trio.fail_after(1000), pytest.raises(LoadFailed, match="unloaded"):
            await house.lattice.evictor.load("a")


async def test_an_operators_load_survives_the_death_of_the_model_actor(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:

        async def kill() -> None:
            await trio.sleep(LOAD_S / 2)
            mailbox: Any = house.lattice.models.of("a")._mailbox
            mailbox.tell("not a message of yours")

        nursery.start_soon(kill)
        with trio.fail_after(1000):
            await house.lattice.evictor.load("a")

        assert (await house.ask("a"))[0] == "xxx"


async def test_an_idle_model_goes_after_its_time_to_live(autojump_clock: MockClock) -> None:
    async with open_house(idle_ttl_s=100.0) as house:
        await house.ask("a")
        await trio.sleep(90)
        assert (await house.lattice.evictor.view()).resident == ("a",)
        await trio.sleep(20)

        assert (await house.lattice.evictor.view()).resident == ()


async def test_a_pinned_model_stays_and_the_other_says_why_it_cannot_come(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_models=1) as house:
        house.lattice.evictor.pin("a", pinned=True)
        await house.ask("a")

        with pytest.raises(LoadFailed, match="pinned"):
            await house.ask("b")

        assert (await house.lattice.evictor.view()).resident == ("a",)


async def test_a_model_that_did_not_fit_beside_a_pin_comes_when_that_is_unloaded(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_models=1) as house:
        house.lattice.evictor.pin("a", pinned=True)
        await house.ask("a")
        with pytest.raises(LoadFailed, match="pinned"):
            await house.ask("b")

        await house.lattice.evictor.unload("a")

        route, _ = await house.lattice.route(Ask("b", allow_fallback=False))
        assert isinstance(route, Route)
        assert (await house.ask("b"))[0] == "xxx"


async def test_a_load_that_fails_is_told_to_all_who_wait_and_not_tried_for_each(
    autojump_clock: MockClock,
) -> None:
    plan = FakePlan(load_faults={"a": EngineRefusedLoad("no memory", permanent=False)})
    async with open_house(plan=plan) as house:
        told: list[float | None] = []

        async def ask() -> None:
            with pytest.raises(LoadFailed, match="no memory") as caught:
                await house.ask("a")
            told.append(caught.value.retry_after_s)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        await trio.sleep(1)
        await ask()  # in the cool-down: refused without a load

        assert told == [5.0, 5.0, 4.0]
        assert house.starts == ["start a"]


async def test_broken_files_are_tried_again_only_after_a_pardon(autojump_clock: MockClock) -> None:
    plan = FakePlan(load_faults={"a": EngineRefusedLoad("truncated", permanent=True)})
    async with open_house(plan=plan) as house:
        for _ in range(3):
            with pytest.raises(LoadFailed, match="truncated") as caught:
                await house.ask("a")
            assert caught.value.retry_after_s is None
            await trio.sleep(10_000)
        assert len(house.starts) == 1

        plan.load_faults.clear()
        house.lattice.evictor.pardon()
        await wait_all_tasks_blocked()

        assert (await house.ask("a"))[0] == "xxx"


async def test_a_crash_ends_what_was_read_and_begins_the_rest_again(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        await house.ask("a")
        outcome: list[str] = []

        async def read() -> None:
            with pytest.raises(ModelCrashed):
                await house.ask("a", 50)
            outcome.append("crashed")

        async def unread() -> None:
            await house.ask("a", 2)
            outcome.append("answered")

        nursery.start_soon(read)
        await trio.sleep(3)
        nursery.start_soon(unread)
        nursery.start_soon(unread)
        await wait_all_tasks_blocked()
        house.plan.engines["a"].crash()
        await trio.sleep(60)

        assert outcome == ["crashed", "answered", "answered"]
        assert await house.running() == {"a": 0}


async def test_the_request_that_crashes_engines_is_found_and_its_neighbours_are_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_house(plan=FakePlan(crash_on="poison")) as house:
        await house.ask("a")
        answered = 0

        async def neighbour() -> None:
            nonlocal answered
            await house.ask("a", 2)
            answered += 1

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(neighbour)
            await wait_all_tasks_blocked()
            with pytest.raises(RequestCrashesEngine):
                await house.ask("a", 2, prompt="poison")
        assert answered == 3
        before = len(house.starts)
        with pytest.raises(RequestCrashesEngine):  # remembered
            await house.ask("a", 2, prompt="poison")

        assert len(house.starts) == before
        assert (await house.ask("a"))[0] == "xxx"


async def test_a_model_that_keeps_crashing_is_quarantined_and_tried_again_later(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        await house.ask("a")
        for _ in range(4):
            house.plan.engines["a"].crash()
            await trio.sleep(12)

        with pytest.raises(ModelQuarantined) as caught:
            await house.ask("a")
        assert 0 < (caught.value.retry_after_s or 0) <= 60
        assert (await house.ask("b"))[0] == "xxx"
        await trio.sleep(60)

        assert (await house.ask("a"))[0] == "xxx"


async def test_a_full_queue_refuses_at_once_with_a_predicted_time(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(queue_max_per_model=2, ageing_s=100)
    async with open_house(limits=limits) as house, trio.open_nursery() as nursery:
        await house.ask("a")
        for _ in range(10):
            nursery.start_soon(house.ask, "a", 100)
        await trio.sleep(30)
        start = trio.current_time()

        with pytest.raises(QueueRefused) as caught:
            await house.ask("a")

        assert trio.current_time() == start
        assert caught.value.code == "queue_overloaded_model"
        assert 10 < (caught.value.retry_after_s or 0) < 200
        assert caught.value.queue is not None
        assert caught.value.queue.queued_for_model == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("victim", ["admission", "evictor", "a"])
async def test_an_actor_that_dies_under_load_takes_no_request_with_it(
    autojump_clock: MockClock, victim: str
) -> None:
    """Twenty requests on two models with room for one; the actor is killed again and again."""
    limits = Limits(min_residence_s=5, collate_s=20, ageing_s=100)
    async with open_house(max_models=1, limits=limits) as house:
        ends: list[str] = []

        async def ask(model: str) -> None:
            try:
                text, _ = await house.ask(model, 4)
            except ModelCrashed:  # its model actor was the victim
                text = "crashed"
            ends.append(text)

        async def kill() -> None:
            for pause_s in (0.0, 7.0, 25.0):
                await trio.sleep(pause_s)
                mailboxes: dict[str, Any] = {
                    "admission": house.lattice.admission._mailbox,
                    "evictor": house.lattice.evictor._mailbox,
                    "a": house.lattice.models.of("a")._mailbox,
                }
                mailboxes[victim].tell("not a message of yours")

        with trio.fail_after(5000):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, "ab"[number % 2])
                await wait_all_tasks_blocked()
                nursery.start_soon(kill)
                for _ in range(20):
                    await trio.sleep(3.3)
                    await wait_all_tasks_blocked()
                    shown = await house.running()
                    live = {
                        handle.model: handle.view.live + handle.view.waiting_for_engine
                        for handle in house.lattice.models.all()
                        if handle.view is not None
                    }
                    assert all(shown.get(model, 0) == live[model] for model in live)

        assert len(ends) == 20
        assert victim == "a" or set(ends) == {"xxxx"}
        assert set((await house.running()).values()) == {0}
        restarts = {view.name: view for view in house.lattice.actors()}
        if victim != "a":
            assert restarts[victim].restarts == 3


async def test_an_engine_that_dies_of_memory_lowers_the_budget_and_cools_down(
    autojump_clock: MockClock,
) -> None:
    async with open_house(memory_bytes=10_000) as house, trio.open_nursery() as nursery:
        await house.ask("a")
        told: list[float | None] = []

        async def ask() -> None:
            with pytest.raises(OutOfMemory) as caught:
                await house.ask("a", 50)
            told.append(caught.value.retry_after_s)

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await trio.sleep(5)
        house.plan.engines["a"].crash("[metal::malloc] out of memory")
        await trio.sleep(2)

        assert told == [5.0, 5.0]
        assert (await house.lattice.evictor.view()).budget_bytes == 9000
        with pytest.raises(OutOfMemory):
            await house.ask("a")
        await trio.sleep(5)
        assert (await house.ask("a"))[0] == "xxx"


async def test_an_engine_that_rested_for_long_proves_itself_before_a_request_is_risked(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        await house.ask("a")
        await trio.sleep(400)
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await house.ask("a", 2))[0])

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        engine = house.plan.engines["a"]
        assert list(engine.streams) == [0]  # the canary, alone
        engine.crash("the device was lost")
        await trio.sleep(20)

        assert answers == ["xx"]
        start = trio.current_time()
        await house.ask("a", 1)
        assert trio.current_time() - start <= 1  # trusted again: no second canary


async def test_an_engine_that_embeds_proves_itself_by_a_vector(autojump_clock: MockClock) -> None:
    async with open_house(kind=Kind.EMBEDDING) as house, trio.open_nursery() as nursery:
        await house.ask("a")
        await trio.sleep(400)

        nursery.start_soon(house.ask, "a")
        await wait_all_tasks_blocked()

        canary, _ = house.plan.engines["a"]._jobs[0]
        assert isinstance(canary.prompt, Embed)


async def test_a_model_that_went_while_its_request_came_is_not_found(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        house.lattice.evictor.inventory(Snapshot())

        with pytest.raises(ModelNotFound):
            await house.ask("a")
