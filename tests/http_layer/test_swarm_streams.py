"""Streams of swarms: named events, a plain client's chunks, and when the headers go out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.actors.house import LOAD_S
from tests.http_layer.swarm_client import ask, events
from tests.http_layer.test_answers_over_asgi import HELLO, Answered, open_client


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def test_a_stream_names_what_happens_and_ends_with_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        answered = await ask(client, "/swarm/vote", stream=True, strategy="longest", max_tokens=2)

    told = events(answered)
    assert told[0] == (
        "session",
        {"session": answered.headers["x-swarm-session"], "strategy": "longest"},
    )
    pieces = [body for name, body in told if name == "branch"]
    assert {(one["branch"], one["model"]) for one in pieces} == {(0, "a"), (1, "b")}
    assert all(one["delta"] == {"content": "x"} for one in pieces)
    assert len(pieces) == 4
    done = [body for name, body in told if name == "branch_done"]
    assert sorted(row["agent_id"] for row in done) == ["a", "b"]
    names = [name for name, _ in told]
    assert names.index("verdict") > names.index("branch_done")
    (verdict,) = [body for name, body in told if name == "verdict"]
    assert (verdict["winner"], verdict["winner_branch"]) == ("a", 0)
    assert "".join(body["delta"]["content"] for name, body in told if name == "answer") == "xx"
    assert names[-2:] == ["data", "data"]
    assert told[-2][1]["object"] == "chat.completion"
    assert told[-2][1]["swarm"]["winner"] == "a"
    assert told[-1][1] == "[DONE]"


async def test_a_plain_client_of_a_swarm_sees_nothing_but_chunks(
    autojump_clock: MockClock,
) -> None:
    swarm = {"models": ["a", "b"], "strategy": "first-success"}
    options = {"include_usage": True}
    async with open_client() as client:
        start = trio.current_time()
        answered = await ask(
            client, "/v1/chat/completions", swarm=swarm, stream=True, stream_options=options
        )

    told = events(answered)
    assert {name for name, _ in told} == {"data"}
    *chunks, last, usage = [body for _, body in told[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "xxx"
    assert [at - start for at, _ in answered.pieces][:2] == [LOAD_S + 1, LOAD_S + 2]  # live
    assert last["choices"][0]["finish_reason"] == "length"
    assert len({(chunk["id"], chunk["model"]) for chunk in (*chunks, last, usage)}) == 1
    assert last["model"] == f"swarm/{last['swarm']['winner']}"
    assert last["swarm"]["requested_model"] == "swarmCouncil"
    assert usage["usage"]["completion_tokens"] >= 3
    assert told[-1][1] == "[DONE]"


@pytest.mark.parametrize("strategy", ["longest", "first-success"])
async def test_a_plain_clients_headers_wait_for_the_answer_and_name_the_winner(
    autojump_clock: MockClock, strategy: str
) -> None:
    swarm = {"models": ["a", "b"], "strategy": strategy}
    async with open_client(keepalive_s=60) as client:
        answered = await ask(client, "/v1/chat/completions", swarm=swarm, stream=True)

    last = events(answered)[-2][1]
    headers = answered.headers
    assert headers["x-swarm-winner"] == last["swarm"]["winner"]
    assert headers["x-model-routed-to"] == last["model"]
    assert (headers["x-swarm-strategy"], headers["x-swarm-intent"]) == (strategy, "council")


async def test_a_vote_that_fails_before_its_answer_has_a_status_for_a_plain_client(
    autojump_clock: MockClock,
) -> None:
    async with open_client(keepalive_s=60) as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def vote() -> None:
            answers.append(await ask(client, "/v1/chat/completions", stream=True, max_tokens=50))

        nursery.start_soon(vote)
        await trio.sleep(LOAD_S + 3.5)
        for engine in client.house.plan.engines.values():
            engine.crash()

    assert answers[0].status == 502
    assert answers[0].headers["x-swarm-error-kinds"] == "model_crashed=2"
    assert [row["text"] for row in answers[0].body["candidates"]] == ["xxx", "xxx"]


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_client_that_asks_gets_the_named_events_as_well(
    autojump_clock: MockClock, by_header: bool
) -> None:
    swarm: dict[str, Any] = {"models": ["a", "b"], "strategy": "longest"}
    body = {"model": "swarmVote", "messages": HELLO, "max_tokens": 1, "stream": True}
    async with open_client() as client:
        answered = await client.send(
            "POST",
            "/v1/chat/completions",
            {**body, "swarm": swarm if by_header else {**swarm, "events": True}},
            more={"X-Swarm-Events": "yes"} if by_header else None,
        )

    names = [name for name, _ in events(answered)]
    assert names[0] == "session"
    assert {"branch", "branch_done", "verdict", "data"} <= set(names)
    assert answered.headers["x-swarm-intent"] == "council"
    assert answered.headers["x-swarm-canonical-name"] == "swarmCouncil"


async def test_a_silent_swarm_is_opened_and_kept_alive(autojump_clock: MockClock) -> None:
    async with open_client(keepalive_s=2.0) as client:
        answered = await ask(client, "/v1/chat/completions", stream=True, max_tokens=1)

    comments = [frame for frame in answered.frames if frame.startswith(": ")]
    assert comments[:2] == [": queued", ": queued"]
    assert answered.status == 200
    assert events(answered)[-1][1] == "[DONE]"


@pytest.mark.parametrize("path", ["/swarm/vote", "/v1/chat/completions"])
async def test_a_swarm_that_fails_midway_says_so_at_the_end_of_its_stream(
    autojump_clock: MockClock, path: str
) -> None:
    async with open_client(keepalive_s=1) as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def vote() -> None:
            answers.append(await ask(client, path, stream=True, max_tokens=50))

        nursery.start_soon(vote)
        await trio.sleep(LOAD_S + 3.5)
        for engine in client.house.plan.engines.values():
            engine.crash()

    (name, last), done = events(answers[0])[-2:]
    assert answers[0].status == 200
    assert last["error"]["code"] == "swarm_failed"
    assert last["error_details"]["kinds"] == {"model_crashed": 2}
    assert [row["text"] for row in last["candidates"]] == ["xxx", "xxx"]
    assert done == ("data", "[DONE]")
    if path == "/swarm/vote":
        assert name == "error"
    else:
        assert last["choices"][0]["finish_reason"] == "error"
