"""The metrics actor: what it is told becomes one state, and none of it grows."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from lattice_actors.generation import Delta
from lattice_actors.metrics.metrics import (
    PERIOD_S,
    MetricsActor,
)
from lattice_actors.metrics.metrics_handle import Shown
from lattice_actors.metrics.news import (
    Arrived,
    Loaded,
    Over,
    Resolved,
    Stepped,
)
from lattice_actors.metrics.picture import Sources
from tests.actors.metered import Client, Elsewhere, open_metrics, over


async def test_nobody_looks_and_no_state_is_made(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics:
        metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 1))
        await trio.sleep(60)
        assert metrics.seq == 0

        state = await metrics.handle.look()

        assert state.seq == 1
        assert state.document["totals"]["tokens"] == 1
        await trio.sleep(60)
        assert metrics.seq == 1


async def test_a_state_is_made_ten_times_a_second_at_most(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics, metrics.handle.follow():
        first = metrics.seq
        for _ in range(1000):
            metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 1))
            await trio.sleep(0.002)

        assert 15 <= metrics.seq - first <= 20


async def test_what_is_looked_at_is_newer_than_the_question(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics:
        await metrics.handle.look()
        metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 1))
        asked = trio.current_time()

        state = await metrics.handle.look()

        assert state.document["totals"]["tokens"] == 1
        assert trio.current_time() - asked <= PERIOD_S + 1e-6


async def test_under_a_flood_the_oldest_news_are_dropped_and_counted(
    autojump_clock: MockClock,
) -> None:
    async with open_metrics() as metrics:
        for _ in range(5000):  # without a checkpoint: nobody can read
            metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 0))

        state = await metrics.handle.look()

        assert state.document["totals"]["tokens"] == 4096
        assert state.document["dashboard"]["dropped_news"] == 5000 - 4096


async def test_telling_an_actor_that_is_gone_does_nothing(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics:
        pass
    metrics.mailbox.close()

    for _ in range(10_000):
        metrics.handle.tell(Loaded("m", 1.0))


async def test_the_next_incarnation_goes_on_with_the_numbers(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics, metrics.handle.follow() as subscription:
        client = Client()
        client.hear(subscription.take())
        metrics.handle.tell(Stepped("m", 1, 0, 0.01, 0.01, 1))
        metrics.nursery.cancel_scope.cancel()
    with trio.CancelScope():
        async with trio.open_nursery() as nursery:
            ring = metrics.handle.ring
            nursery.start_soon(MetricsActor(metrics.mailbox, ring, metrics.memory, Sources()).run)

            state = await metrics.handle.look()

            assert state.seq > client.document["seq"]
            assert state.document["totals"]["tokens"] == 1
            nursery.cancel_scope.cancel()


async def test_keys_in_the_text_of_an_error_are_not_shown(autojump_clock: MockClock) -> None:
    async with open_metrics(Shown(secrets=("hunter2",), max_error_chars=40)) as metrics:
        text = "upstream said: bad key sk-abcdefghijkl; we sent hunter2" + "x" * 500
        metrics.handle.tell(over("upstream_failed", message=text))

        state = await metrics.handle.look()

        [error] = state.document["errors"].values()
        assert error["message"] == "upstream said: bad key [key]; we sent [k"
        assert "hunter2" not in state.encoded


async def test_callers_cannot_make_the_state_grow(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics:
        for number in range(600):
            key = (f"r{number}", 0.0)
            metrics.handle.tell(Arrived(key, f"key:{number}", "auto", True))
            metrics.handle.tell(Resolved(key, 0.0, f"m{number}", "mlx", "normal", None, ()))
            metrics.handle.tell(Over(key, 1.0, "POST /x", 429, f"c{number}", f"key:{number}", "no"))
        await trio.sleep(1)

        state = await metrics.handle.look()

        assert len(state.document["requests"]) == 20
        assert len(state.document["errors"]) == 50
        by = state.document["windows"]["10s"]["by"]
        assert len(by["key"]) == 51
        assert by["key"]["other"]["refused"] == 550


async def test_tokens_from_elsewhere_are_counted_while_they_come(
    autojump_clock: MockClock,
) -> None:
    """No engine here tells of them; and nobody has to look for them to be counted in time."""
    async with open_metrics() as metrics:
        handle, answer = metrics.handle, Elsewhere()
        handle.tell(Arrived(("r", 0.0), "me", "far", False))
        handle.tell(Resolved(("r", 0.0), 0.0, "node/far", "node", "normal", None, (answer,)))
        for _ in range(10):
            answer.stream.push(Delta("x", tokens=2))
            await trio.sleep(1)
        while_it_ran = [row.tokens for _, row in await handle.history()]
        answer.stream.push(Delta("x", tokens=2))
        handle.tell(over())
        shown = (await handle.look()).document

        assert max(while_it_ran) <= 4
        assert sum(while_it_ran) >= 14
        assert shown["totals"]["tokens"] == 22
        minute = shown["windows"]["1m"]["by"]
        assert minute["model"]["node/far"]["itl_ms"]["count"] == 21
        assert minute["backend"]["node"]["requests_per_s"] > 0
