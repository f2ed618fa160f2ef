"""Who follows the metrics actor lacks nothing."""

from __future__ import annotations

import json
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.metrics.metrics import (
    HEARTBEAT_S,
    PERIOD_S,
)
from lattice_actors.metrics.news import (
    Arrived,
    Failed,
    Loaded,
    Over,
    Resolved,
    Stepped,
    Stopped,
    SwarmBegan,
    SwarmEnded,
    SwarmText,
)
from tests.actors.metered import Client, open_metrics

NEWS = st.sampled_from(
    [
        lambda now: Stepped("m", 2, 5, 0.01, 0.02, 1),
        lambda now: Stepped("n", 1, 0, 0.01, 0.02, 1),
        lambda now: Arrived(("r", 0.0), "me", "auto", True),
        lambda now: Arrived(("s", 1.0), "me", None, False),
        lambda now: Resolved(("r", 0.0), now, "m", "mlx", "normal", None, ()),
        lambda now: Over(("r", 0.0), now, "POST /x", 200, "ok", "me"),
        lambda now: Over(("s", 1.0), now, "POST /x", 429, "queue_timeout", "me", "late"),
        lambda now: Loaded("m", 2.0),
        lambda now: Stopped("m", "evicted"),
        lambda now: Failed("m", now, "oom", "too large"),
        lambda now: SwarmBegan("w", now, "vote", {0: "m"}),
        lambda now: SwarmText("w", 0, "a"),
        lambda now: SwarmEnded("w", now, "ok"),
    ]
)
TURNS = st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.1, 0.9, 70.0]), NEWS), max_size=25)


@settings(max_examples=20)
@given(TURNS, st.integers(1, 4))
def test_snapshot_and_deltas_are_the_state_of_the_same_number(
    turns: list[tuple[float, Any]], reads_each: int
) -> None:
    async def check() -> None:
        async with open_metrics() as metrics, metrics.handle.follow() as subscription:
            client = Client()
            for number, (pause, make) in enumerate(turns):
                await trio.sleep(pause)
                metrics.handle.tell(make(trio.current_time()))
                if number % reads_each == 0:  # the others are missed
                    client.hear(subscription.take())
            state = await metrics.handle.look()
            client.hear(subscription.take())

            assert client.document == json.loads(state.encoded)
            assert client.document["seq"] == state.seq == metrics.seq

    trio.run(check, clock=MockClock(autojump_threshold=0))


async def test_a_client_that_missed_deltas_gets_a_snapshot_and_is_counted(
    autojump_clock: MockClock,
) -> None:
    async with open_metrics() as metrics, metrics.handle.follow() as subscription:
        client = Client()
        client.hear(subscription.take())
        for _ in range(3):
            metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 1))
            await trio.sleep(0.3)

        client.hear(subscription.take())

        assert client.kinds == ["snapshot", "snapshot"]
        assert metrics.memory.feed.slow == 1


async def test_all_followers_are_sent_the_same_text(autojump_clock: MockClock) -> None:
    async with (
        open_metrics() as metrics,
        metrics.handle.follow() as one,
        metrics.handle.follow() as other,
    ):
        assert one.take()[0] is other.take()[0]
        await trio.sleep(PERIOD_S)
        metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 1))
        await trio.sleep(PERIOD_S)

        assert one.take()[0] is other.take()[0]


async def test_a_quiet_line_has_a_heartbeat(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics, metrics.handle.follow() as subscription:
        client, start = Client(), trio.current_time()
        while client.kinds[-1:] != ["heartbeat"]:
            client.hear(await subscription.receive())

        assert trio.current_time() - start <= HEARTBEAT_S + 1


async def test_who_leaves_while_asking_does_not_stay_subscribed(
    autojump_clock: MockClock,
) -> None:
    async with open_metrics() as metrics:
        for crossing in (False, True):
            async with trio.open_nursery() as nursery:

                async def follow() -> None:
                    async with metrics.handle.follow():
                        await trio.sleep_forever()

                nursery.start_soon(follow)
                if crossing:
                    await trio.lowlevel.checkpoint()
                else:
                    await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            await wait_all_tasks_blocked()

            assert not metrics.memory.feed.subscribers
