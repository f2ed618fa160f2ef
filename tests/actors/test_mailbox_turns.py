"""Messages and those who wait for them, in whatever turn of the loop the waiting ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lattice_actors.mailbox import Mailbox

# What the writer does before the next message: turns of the loop, or seconds.
PAUSES = st.lists(st.one_of(st.integers(0, 4), st.sampled_from([0.5, 1.0])), max_size=12)
# When a wait ends: cancelled after so many turns of somebody else, and at so many seconds.
WAITS = st.lists(
    st.tuples(st.none() | st.integers(0, 4), st.sampled_from([-1.0, 0.0, 0.5, 1.0, math.inf])),
    min_size=1,
    max_size=12,
)


@given(pauses=PAUSES, waits=WAITS)
@settings(max_examples=100)
def test_no_message_is_lost_or_comes_twice(
    pauses: Sequence[float], waits: Sequence[tuple[int | None, float]]
) -> None:
    async def story() -> None:
        mailbox = Mailbox[int]("any")
        got: list[int] = []

        async def write() -> None:
            for number, pause in enumerate(pauses):
                if isinstance(pause, float):
                    await trio.sleep(pause)
                else:
                    for _ in range(pause):
                        await trio.lowlevel.checkpoint()
                mailbox.tell(number)

        async def cancel(scope: trio.CancelScope, turns: int) -> None:
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async def read(turns: int | None, seconds: float) -> None:
            async with trio.open_nursery() as waiting:
                if turns is not None:
                    waiting.start_soon(cancel, waiting.cancel_scope, turns)
                elif seconds == math.inf and len(got) == len(pauses):
                    return  # nothing would end it
                message = await mailbox.receive(trio.current_time() + seconds)
                if message is not None:
                    got.append(message)
                waiting.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for turns, seconds in waits:
                await read(turns, seconds)
        while (message := await mailbox.receive(trio.current_time())) is not None:
            got.append(message)
        assert got == list(range(len(pauses)))

    trio.run(story, clock=MockClock(autojump_threshold=0))


async def test_one_with_much_to_read_lets_others_have_their_turns() -> None:
    mailbox = Mailbox[int]("full")
    for number in range(100):
        mailbox.tell(number)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for number in range(100):
            assert await mailbox.receive() == number
        nursery.cancel_scope.cancel()

    assert turns > 95  # they begin in any order


async def test_one_that_is_cancelled_takes_nothing() -> None:
    mailbox = Mailbox[int]("left")
    mailbox.tell(1)
    for deadline in (math.inf, -math.inf):
        with trio.CancelScope() as scope:
            scope.cancel()
            await mailbox.receive(deadline)
        assert scope.cancelled_caught

    assert mailbox.depth == 1
