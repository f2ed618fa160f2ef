"""What the metrics actor is told of swarms."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lattice_actors.metrics.news import (
    Arrived,
    Part,
    Resolved,
    SwarmBegan,
    SwarmBranchBegan,
    SwarmBranchOver,
    SwarmEnded,
    SwarmJudgeAsked,
    SwarmText,
    SwarmVerdict,
)
from tests.actors.metered import Client, Elsewhere, open_metrics, over


async def test_swarm_text_is_appended_in_order_and_not_kept(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics, metrics.handle.follow() as subscription:
        swarm, early = metrics.handle.swarm, Client()
        swarm(SwarmBegan("w", trio.current_time(), "vote", {0: "a", 1: "b"}))
        for piece in "fast":
            swarm(SwarmText("w", 0, piece))
            swarm(SwarmText("w", 1, piece.upper()))
        await trio.sleep(0.3)
        early.hear(subscription.take())
        async with metrics.handle.follow() as later:
            late = Client()
            late.hear(later.take())
            swarm(SwarmText("w", 0, "er"))
            await trio.sleep(0.3)
            for client, place in ((early, subscription), (late, later)):
                client.hear(place.take())

        assert early.said == late.said == {("w", "0"): "faster", ("w", "1"): "FAST"}
        assert early.kinds.count("swarm") == 2  # pieces of one turn travel together
        swarm(SwarmEnded("w", trio.current_time(), "ok"))
        await metrics.handle.look()
        assert metrics.memory.swarms.tails() == {}


async def test_a_branch_is_there_before_it_speaks_and_tells_how_it_ended(
    autojump_clock: MockClock,
) -> None:
    async with open_metrics() as metrics:
        swarm = metrics.handle.swarm
        swarm(SwarmBegan("w", trio.current_time(), "debate", request_id="r"))
        for number in range(5):
            swarm(SwarmBranchBegan("w", number, "a", "round 1"))
        swarm(SwarmText("w", 4, ""))
        swarm(SwarmText("w", 1, "so"))
        swarm(SwarmBranchOver("w", 2, "a", 3, "cancelled", "round 1"))
        swarm(SwarmBranchOver("w", 3, "a", 3, "timeout", "round 1"))

        shown = (await metrics.handle.look()).document["swarms"]["w"]

        assert shown["request_id"] == "r"
        states = [branch["state"] for branch in shown["branches"].values()]
        assert states == ["waiting", "running", "cancelled", "failed", "thinking"]
        swarm(SwarmEnded("w", trio.current_time(), "ok"))
        ended = (await metrics.handle.look()).document["swarms"]["w"]["branches"]
        assert [ended[number]["state"] for number in ("0", "1", "4")] == ["cancelled"] * 3


async def test_what_a_judge_writes_is_seen_while_it_writes(autojump_clock: MockClock) -> None:
    async with open_metrics() as metrics, metrics.handle.follow() as subscription:
        swarm, client, late = metrics.handle.swarm, Client(), Client()

        async def judge() -> Any:  # noqa: ANN401 - JSON
            return (await metrics.handle.look()).document["swarms"]["w"].get("judge")

        swarm(SwarmBegan("w", trio.current_time(), "synthesis", {0: "a", 1: "b"}))
        assert await judge() is None
        swarm(SwarmJudgeAsked("w", "j"))
        assert await judge() == {"model": "j", "state": "judging"}
        for piece in ("so ", "be it"):
            swarm(SwarmText("w", None, piece, "j"))
            assert await judge() == {"model": "j", "state": "writing"}
            client.hear(subscription.take())
        async with metrics.handle.follow() as later:
            late.hear(later.take())
        assert client.said == late.said == {("w", "judge"): "so be it"}
        swarm(SwarmVerdict("w", None, "j wrote it", {}, "j"))
        assert await judge() == {"model": "j", "state": "ok"}
        swarm(SwarmEnded("w", trio.current_time(), "ok"))
        await metrics.handle.look()
        assert metrics.memory.swarms.tails() == {}


@pytest.mark.parametrize(
    ("news", "state"),
    [
        (SwarmVerdict("w", 0, "the longest, as the judge named no answer"), "failed"),
        (SwarmVerdict("w", 0, "j preferred it", {0: 1.0}, "j"), "ok"),
        (SwarmEnded("w", 1.0, "client_left"), "cancelled"),
        (SwarmEnded("w", 1.0, "swarm_failed"), "failed"),
    ],
)
async def test_how_a_judge_ended_is_told(
    news: SwarmVerdict | SwarmEnded, state: str, autojump_clock: MockClock
) -> None:
    async with open_metrics() as metrics:
        metrics.handle.swarm(SwarmBegan("w", 0.0, "best-of-n", {0: "a", 1: "b"}))
        metrics.handle.swarm(SwarmJudgeAsked("w", "j"))
        metrics.handle.swarm(news)

        shown = (await metrics.handle.look()).document["swarms"]["w"]

        assert shown["judge"] == {"model": "j", "state": state}


async def test_the_answers_within_a_swarm_are_no_requests_of_clients(
    autojump_clock: MockClock,
) -> None:
    async with open_metrics() as metrics:
        handle = metrics.handle
        for number, outcome in enumerate(("ok", "stopped", "model_crashed")):
            key, part = (f"r~{number}", 0.0), Part("r", "w", number, "swarm_vote")
            handle.tell(Arrived(key, "me", "a", True, part=part))
            handle.tell(Resolved(key, 0.0, "a", "mlx", "normal", None, (Elsewhere(),)))
            handle.tell(attrs.evolve(over(outcome), key=key))
        handle.tell(attrs.evolve(over(), strategy="best-of-n"))
        shown = (await handle.look()).document
        totals = (await handle.scrape()).ledger.totals

        assert (shown["totals"]["requests"], shown["totals"]["refused"]) == (1, 0)
        assert shown["requests"]["r~1"]["swarm"] == {
            "request_id": "r",
            "session": "w",
            "branch": 1,
        }
        assert [one["code"] for one in shown["errors"].values()] == ["model_crashed"]
        assert totals.sums["lattice_swarm_answers"] == {
            ("a", "mlx", "normal", outcome): 1 for outcome in ("ok", "stopped", "model_crashed")
        }
        assert totals.sums["lattice_requests"] == {("swarm", "none", "none", "ok"): 1}
        assert totals.sums["lattice_requests_by_key"] == {("me",): 1}
