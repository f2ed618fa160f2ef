"""The metrics actor with the other actors: phases, predictions, what is let go."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.ticket import Ticket
from lattice_actors.generation import Chat, Job
from lattice_actors.metrics.news import (
    Arrived,
    Over,
    Resolved,
)
from tests.actors.house import LOAD_S, House, open_house


async def ask(house: House, name: str, model: str = "a", tokens: int = 3) -> None:
    """Ask as the HTTP layer does, and tell what it tells."""
    now, metrics = trio.current_time(), house.lattice.metrics
    ticket = Ticket(name, model, Job(Chat(()), tokens), 5, now, now + 600)
    metrics.tell(Arrived((name, now), "me", model, False))
    metrics.tell(Resolved((name, now), now, model, "mlx", "normal", None, (ticket,)))
    async with house.lattice.admission.grant(ticket):
        while not ticket.stream.ended:
            await ticket.stream.receive()
    metrics.tell(Over((name, now), trio.current_time(), "POST /v1/x", 200, "ok", "me"))


async def phase(house: House, name: str) -> str:
    state = await house.lattice.metrics.look()
    shown: str = state.document["requests"][name]["phase"]
    return shown


async def test_a_request_is_seen_in_each_of_its_phases(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        nursery.start_soon(ask, house, "r")
        await trio.sleep(1)
        assert await phase(house, "r") == "load"
        await trio.sleep(LOAD_S - 0.5)
        assert await phase(house, "r") == "prefill"
        await trio.sleep(1)
        assert await phase(house, "r") == "decode"
        await trio.sleep(5)

        state = await house.lattice.metrics.look()

        shown = state.document["requests"]["r"]
        assert shown["phase"] == "ended"
        assert shown["first_ms"] - shown["arrived_ms"] == (LOAD_S + 1) * 1000
        assert shown["granted_ms"] - shown["resolved_ms"] == LOAD_S * 1000
        assert shown["tokens"] == 3
        minute = state.document["windows"]["1m"]
        assert minute["ttft_ms"]["p50"] == pytest.approx((LOAD_S + 1) * 1000, rel=1 / 16)
        assert minute["by"]["class"]["normal"]["queue_ms"]["count"] == 1
        assert state.document["models"]["a"]["state"] == "ready"
        assert state.document["models"]["c"]["state"] == "cold"
        assert "metrics" in [actor["name"] for actor in state.document["actors"]]


async def test_the_prediction_of_who_waits_is_compared_with_what_came(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        for number in range(12):  # eight run at once
            nursery.start_soon(ask, house, f"r{number}", "a", 5)
        await trio.sleep(60)

        state = await house.lattice.metrics.look()

        requests = state.document["requests"].values()
        assert all(not math.isnan(one["predicted_wait_ms"]) for one in requests)
        assert state.document["windows"]["15m"]["predicted_off_ms"]["count"] == 12


async def test_a_model_that_makes_room_counts_as_evicted(autojump_clock: MockClock) -> None:
    async with open_house(max_models=1) as house:
        await ask(house, "r")
        await ask(house, "s", "b")
        await house.lattice.evictor.unload("b")
        await trio.sleep(1)

        totals = (await house.lattice.metrics.look()).document["totals"]

        assert (totals["stops"], totals["evictions"]) == (2, 1)


async def test_what_is_over_is_let_go(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await ask(house, "r")

        for past in await house.lattice.metrics.past():
            assert past.timeline is not None
            assert past.timeline.resolved is not None
            assert past.timeline.resolved.answers == ()
