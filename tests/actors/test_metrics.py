"""The metrics actor: what it is told becomes one state, and who follows it lacks nothing."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.admission.ticket import Ticket
from lattice_actors.generation import Chat, Delta, Job
from lattice_actors.mailbox import Mailbox
from lattice_actors.metrics.metrics import (
    HEARTBEAT_S,
    PERIOD_S,
    Message,
    MetricsActor,
    MetricsHandle,
    MetricsMemory,
    Shown,
)
from lattice_actors.metrics.news import (
    Arrived,
    Failed,
    Loaded,
    Over,
    Part,
    Resolved,
    Stepped,
    Stopped,
    SwarmBegan,
    SwarmBranchBegan,
    SwarmBranchOver,
    SwarmEnded,
    SwarmText,
)
from lattice_actors.metrics.patches import Document, apply
from lattice_actors.metrics.ring import Ring
from lattice_actors.metrics.state import Sources
from lattice_actors.stream import TokenStream
from tests.actors.house import LOAD_S, House, open_house


@attrs.define
class Metrics:
    """An actor of its own, and what outlives it."""

    handle: MetricsHandle
    memory: MetricsMemory
    mailbox: Mailbox[Message]
    nursery: trio.Nursery

    @property
    def seq(self) -> int:
        return self.memory.feed.state.seq


@asynccontextmanager
async def open_metrics(shown: Shown | None = None) -> AsyncIterator[Metrics]:
    mailbox, ring = Mailbox[Message]("metrics"), Ring()
    memory = MetricsMemory(shown or Shown())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(MetricsActor(mailbox, ring, memory, Sources()).run)
        yield Metrics(MetricsHandle(mailbox, ring, memory.shown), memory, mailbox, nursery)
        nursery.cancel_scope.cancel()


class Client:
    """A follower as a page is one."""

    def __init__(self) -> None:
        self.document: Document = {}
        self.kinds: list[str] = []
        self.said: dict[tuple[str, str], str] = {}

    def hear(self, messages: Sequence[str]) -> None:
        for message in map(json.loads, messages):
            self.kinds.append(message["type"])
            match message["type"]:
                case "snapshot":
                    self.document = message["state"]
                case "delta":
                    assert message["base"] == self.document["seq"]
                    self.document = apply(self.document, message["patch"])
                case "swarm":
                    for event in message["events"]:
                        key = (event["swarm"], str(event["branch"]))
                        self.said[key] = self.said.get(key, "") + event["text"]
                case "swarm_snapshot":
                    for swarm, branches in message["swarms"].items():
                        for branch, text in branches.items():
                            self.said[swarm, branch] = text


def over(outcome: str = "ok", name: str = "r", message: str = "") -> Over:
    return Over((name, 0.0), trio.current_time(), "POST /v1/x", 200, outcome, "me", message)


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


@settings(max_examples=40, deadline=None)
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
        for number in range(4):
            swarm(SwarmBranchBegan("w", number, "a", "round 1"))
        swarm(SwarmText("w", 1, "so"))
        swarm(SwarmBranchOver("w", 2, "a", 3, "cancelled", "round 1"))
        swarm(SwarmBranchOver("w", 3, "a", 3, "timeout", "round 1"))

        shown = (await metrics.handle.look()).document["swarms"]["w"]

        assert shown["request_id"] == "r"
        states = [branch["state"] for branch in shown["branches"].values()]
        assert states == ["waiting", "running", "cancelled", "failed"]
        swarm(SwarmEnded("w", trio.current_time(), "ok"))
        ended = (await metrics.handle.look()).document["swarms"]["w"]["branches"]
        assert [ended["0"]["state"], ended["1"]["state"]] == ["cancelled", "cancelled"]


@attrs.define
class Elsewhere:
    """An answer of another server."""

    granted_at: float = 0.0
    ready_at: float = 0.0
    stream: TokenStream = attrs.field(factory=TokenStream)


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
            ("a", "normal", outcome): 1 for outcome in ("ok", "stopped", "model_crashed")
        }
        assert totals.sums["lattice_requests"] == {("swarm", "none", "ok"): 1}
        assert totals.sums["lattice_requests_by_key"] == {("me",): 1}


# --- with the other actors ------------------------------------------------------------------


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


async def test_what_is_over_is_let_go(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await ask(house, "r")

        for past in await house.lattice.metrics.past():
            assert past.timeline is not None
            assert past.timeline.resolved is not None
            assert past.timeline.resolved.answers == ()
