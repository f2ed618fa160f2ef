"""How swarms end: left, stopped, cut by the server, without an engine; and what is told of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.actors.house import LOAD_S
from tests.http_layer.swarm_client import ROUTES, ask, events
from tests.http_layer.test_answers_over_asgi import Answered, open_client


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("after_s", [0.0, LOAD_S - 0.5, LOAD_S + 1.5, LOAD_S + 3.5])
async def test_a_client_that_leaves_gives_everything_back(
    autojump_clock: MockClock, path: str, stream: bool, after_s: float
) -> None:
    """While loading, in the first answers, in what comes after them."""
    async with open_client() as client:
        await ask(client, path, stream=stream, leave_after_s=after_s)
        await trio.sleep(LOAD_S + 2)  # one engine step after the load, at the most

        assert (await client.house.lattice.admission.view()).waiting == ()
        assert sum((await client.house.running()).values()) == 0
        assert client.gateway.working == 0


async def test_one_branch_is_stopped_and_the_others_go_on(autojump_clock: MockClock) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def fan_out() -> None:
            entries = [{"model": "a", "samples": 3}]
            answers.append(await ask(client, "/swarm/fanout", models=entries, max_tokens=8))

        nursery.start_soon(fan_out)
        await trio.sleep(LOAD_S + 2.5)
        (working,) = client.gateway._working
        session = getattr(working, "id")  # noqa: B009 - the gateway only knows that it works
        stopped = await client.send("DELETE", f"/swarm/sessions/{session}/branches/1")
        again = await client.send("DELETE", f"/swarm/sessions/{session}/branches/1")
        unknown = await client.send("DELETE", "/swarm/sessions/swarm_0/branches/1")
        no_number = await client.send("DELETE", f"/swarm/sessions/{session}/branches/one")

    assert (stopped.status, stopped.body["branch"]) == (200, 1)
    assert (again.status, unknown.status, no_number.status) == (404, 404, 404)
    rows = answers[0].body["responses"]
    assert [row["ok"] for row in rows] == [True, False, True]
    assert (rows[0]["text"], rows[1]["error_kind"], rows[2]["text"]) == (
        "x" * 8,
        "cancelled",
        "x" * 8,
    )


@pytest.mark.parametrize("stream", [True, False])
async def test_an_operator_ends_a_whole_swarm_by_the_id_of_its_request(
    autojump_clock: MockClock, stream: bool
) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def vote() -> None:
            answers.append(await ask(client, "/swarm/vote", stream=stream, max_tokens=100))

        nursery.start_soon(vote)
        await trio.sleep(LOAD_S + 2.5)
        (working,) = client.gateway._working
        assert client.gateway.cancel(working.request_id)
        await trio.sleep(2)

        assert sum((await client.house.running()).values()) == 0

    (answered,) = answers
    if stream:
        name, body = events(answered)[-2]
        assert (answered.status, name) == (200, "error")
        assert body["error"]["code"] == "request_cancelled"
    else:
        assert answered.status == 400


async def test_the_end_of_the_server_ends_swarms_with_words(autojump_clock: MockClock) -> None:
    async with open_client(keepalive_s=1) as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def council(max_tokens: int) -> None:
            fields = {"stream": True, "max_tokens": max_tokens}
            answers.append(await ask(client, "/v1/chat/completions", **fields))

        nursery.start_soon(council, 100)
        await trio.sleep(LOAD_S + 2.5)
        client.gateway.drain()
        refused = await ask(client, "/swarm/fanout")
        await trio.sleep(2)
        client.gateway.cut()

    assert refused.status == 503
    last = events(answers[0])[-2][1]
    assert last["choices"][0]["finish_reason"] == "error"
    assert last["error"]["code"] == "server_shutting_down"
    assert events(answers[0])[-1][1] == "[DONE]"


async def test_an_engine_that_dies_costs_a_branch_and_not_the_vote(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def vote() -> None:
            answers.append(await ask(client, "/swarm/vote", strategy="longest", max_tokens=20))

        nursery.start_soon(vote)
        await trio.sleep(LOAD_S + 4.5)
        client.house.plan.engines["a"].crash()

    swarm = answers[0].body["swarm"]
    assert swarm["winner"] == "b"
    assert [row["error_kind"] for row in swarm["candidates"]] == ["model_crashed", None]


async def test_the_log_line_of_a_swarm_says_how_it_went(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        good = (await ask(client, "/swarm/vote", strategy="longest")).log
        bad = (await ask(client, "/swarm/vote", models=["nobody"])).log
        left = (await ask(client, "/swarm/vote", stream=True, leave_after_s=1.5)).log

    assert (good["outcome"], good["strategy"], good["branches"]) == ("ok", "longest", 2)
    assert (good["prompt_tokens"], good["completion_tokens"], good["model"]) == (6, 6, "a")
    assert (bad["outcome"], bad["branches"], bad["completion_tokens"]) == ("swarm_failed", 1, 0)
    assert left["outcome"] == "client_left"
    assert (left["branches"], left["completion_tokens"]) == (0, 2)  # what had come


@pytest.mark.parametrize("stream", [True, False])
async def test_the_state_says_of_each_swarm_how_it_ended(
    autojump_clock: MockClock, stream: bool
) -> None:
    asked: dict[str, Any] = {"strategy": "longest", "stream": stream}
    async with open_client() as client:
        await ask(client, "/swarm/vote", **asked)
        await ask(client, "/swarm/vote", models=["nobody"], **asked)
        await ask(client, "/swarm/vote", models=["preset:nobody"], **asked)
        await ask(client, "/swarm/vote", max_tokens=50, leave_after_s=LOAD_S + 3, **asked)
        await trio.sleep(1)
        shown = (await client.send("GET", "/v1/state")).body["swarms"]

    told = [swarm["outcome"] for swarm in shown.values()]
    assert told == ["ok", "swarm_failed", "unknown_preset", "client_left"]
