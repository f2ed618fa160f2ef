from __future__ import annotations

import contextlib
from collections.abc import Callable

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.errors import ActorStopped, GaveUp
from lattice_actors.intensity import Intensity
from lattice_actors.mailbox import Mailbox, Reply
from lattice_actors.supervisor import ChildState, Supervisor, open_supervisor


@attrs.frozen(eq=False)
class Add:
    number: int
    reply: Reply[int]


@attrs.frozen
class Crash:
    pass


@attrs.frozen(eq=False)
class Forget:
    """An ask that the actor never answers: a bug that the kernel has to cover."""

    reply: Reply[int]


Message = Add | Crash | Forget


@attrs.define(eq=False)
class Adder:
    mailbox: Mailbox[Message]
    journal: list[str] = attrs.field(factory=list)
    total: int = 0

    async def run(self) -> None:
        self.journal.append(f"{self.mailbox.owner} up")
        try:
            while True:
                message = await self.mailbox.receive()
                match message:
                    case Add(number, reply):
                        self.total += number
                        reply.send(self.total)
                    case Crash():
                        raise ValueError("on purpose")
        finally:
            self.journal.append(f"{self.mailbox.owner} down")


def add(number: int) -> Callable[[Reply[int]], Add]:
    return lambda reply: Add(number, reply)


async def test_a_crash_starts_a_fresh_incarnation_behind_the_same_mailbox(
    autojump_clock: MockClock,
) -> None:
    mailbox = Mailbox[Message]("adder")
    async with open_supervisor("root") as root:
        root.start(mailbox, Adder)
        assert await mailbox.ask_anew(add(5)) == 5

        mailbox.tell(Crash())
        assert await mailbox.ask_anew(add(1)) == 1

        (view,) = root.views()
        assert (view.state, view.restarts) == ("running", 1)
        assert view.last_error == "ValueError: on purpose"


async def test_restarts_back_off_and_then_the_supervisor_gives_up(
    autojump_clock: MockClock,
) -> None:
    mailbox = Mailbox[Message]("adder")
    start = trio.current_time()

    with pytest.RaisesGroup(pytest.RaisesExc(GaveUp, match="adder"), flatten_subgroups=True):
        async with open_supervisor("root") as root:
            root.start(mailbox, Adder, intensity=Intensity(restarts=3, window_s=60))
            for _ in range(4):
                mailbox.tell(Crash())
            await trio.sleep_forever()

    assert trio.current_time() - start == 0 + 1 + 2


async def test_children_stop_in_reverse_order_also_when_cancelled_from_outside(
    autojump_clock: MockClock,
) -> None:
    journal: list[str] = []

    with trio.CancelScope() as outside:
        async with open_supervisor("root") as root:
            inner = Supervisor("inner")
            for name, where in [("a", root), ("b", inner), ("c", inner)]:
                where.start(Mailbox[Message](name), lambda box: Adder(box, journal))
            root.start_supervisor(inner)
            root.start(Mailbox[Message]("d"), lambda box: Adder(box, journal))
            await wait_all_tasks_blocked()
            assert sorted(journal) == ["a up", "b up", "c up", "d up"]
            outside.cancel()
            await trio.sleep_forever()

    assert journal[4:] == ["d down", "c down", "b down", "a down"]


async def test_stopping_wakes_a_child_that_is_backing_off(autojump_clock: MockClock) -> None:
    mailbox = Mailbox[Message]("adder")
    start = trio.current_time()
    async with open_supervisor("root") as root:
        root.start(mailbox, Adder, intensity=Intensity(first_s=1000, longest_s=1000))
        mailbox.tell(Crash())
        mailbox.tell(Crash())
        await wait_all_tasks_blocked()
        (view,) = root.views()
        assert view.state == ChildState.BACKING_OFF.value

    assert trio.current_time() == start


async def test_an_ask_the_actor_forgot_is_answered_when_it_stops(
    autojump_clock: MockClock,
) -> None:
    mailbox = Mailbox[Message]("adder")

    async def asker() -> None:
        with pytest.raises(ActorStopped):
            await mailbox.ask_anew(Forget)

    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery, open_supervisor("root") as root:
            root.start(mailbox, Adder)
            nursery.start_soon(asker)
            await wait_all_tasks_blocked()


async def test_a_child_added_after_the_stop_began_refuses_its_asks(
    autojump_clock: MockClock,
) -> None:
    mailbox = Mailbox[Message]("late")
    async with open_supervisor("root") as root:
        root.stop()
        root.start(mailbox, Adder)
        with pytest.raises(ActorStopped):
            await mailbox.ask_anew(add(1))


STEPS = st.lists(
    st.sampled_from(["ask", "ask and leave", "forget", "crash", "let it run", "time passes"]),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.differing_executors])
def test_no_order_of_events_leaves_an_asker_hanging(steps: list[str]) -> None:
    """Asks, cancelled asks, forgotten asks, crashes and the stop, in any order."""

    async def story() -> None:
        mailbox = Mailbox[Message]("adder")
        asked = answered = 0

        async def asker(make: Callable[[Reply[int]], Message], patience_s: float) -> None:
            nonlocal answered
            with trio.move_on_after(patience_s):
                with contextlib.suppress(ActorStopped):
                    await mailbox.ask_anew(make)
            answered += 1

        with trio.fail_after(10_000):
            async with trio.open_nursery() as askers, open_supervisor("root") as root:
                root.start(mailbox, Adder, intensity=Intensity(restarts=10**6))
                for step in steps:
                    match step:
                        case "ask":
                            askers.start_soon(asker, add(1), 9000)
                        case "ask and leave":
                            askers.start_soon(asker, Forget, 0.5)
                        case "forget":
                            askers.start_soon(asker, Forget, 9000)
                        case "crash":
                            mailbox.tell(Crash())
                        case "let it run":
                            await wait_all_tasks_blocked()
                        case "time passes":
                            await trio.sleep(1)
                    asked += step in ("ask", "ask and leave", "forget")
        assert answered == asked
        assert trio.current_time() < 9000, "an ask waited for its own patience to end"

    trio.run(story, clock=MockClock(autojump_threshold=0))
