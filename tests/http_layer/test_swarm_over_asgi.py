"""Swarms through the app on the mock clock: real actors and sessions, engines that are fakes."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.verdicts import Limits
from tests.actors.house import LOAD_S
from tests.http_layer.test_answers_over_asgi import HELLO, PATIENT, Answered, Client, open_client

ROUTES: dict[str, dict[str, Any]] = {
    "/swarm/fanout": {"models": ["a", "b"]},
    "/swarm/vote": {"models": ["a", "b"], "judge": "a"},
    "/swarm/pipeline": {"steps": [{"model": "a"}, {"model": "b"}]},
    "/swarm/debate": {"models": ["a", "b"], "judge": "a"},
    "/v1/chat/completions": {"model": "swarmCouncil", "swarm": {"models": ["a", "b"]}},
}


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def ask(client: Client, path: str, *, leave_after_s: float = 1e9, **fields: Any) -> Answered:  # noqa: ANN401
    body = {"messages": HELLO, "max_tokens": 3, **ROUTES[path], **fields}
    return await client.send("POST", path, body, leave_after_s=leave_after_s)


def events(answered: Answered) -> list[tuple[str, Any]]:
    """The frames as (name, JSON); what has no name is "data", comments are left out."""
    told: list[tuple[str, Any]] = []
    for frame in answered.frames:
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":"))
        if "data" in lines:
            data = lines["data"]
            body = data if data == "[DONE]" else json.loads(data)
            told.append((lines.get("event", "data"), body))
    return told


async def test_a_fan_out_has_a_row_for_each_and_a_miss_fails_only_its_own(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        answered = await ask(client, "/swarm/fanout", models=["b", "nobody", "a"])

    body = answered.body
    assert answered.status == 200
    assert (body["object"], body["id"][:6]) == ("swarm.fanout", "swarm_")
    rows = body["responses"]
    assert [row["agent_id"] for row in rows] == ["b", "nobody", "a"]
    assert [row["ok"] for row in rows] == [True, False, True]
    assert rows[1]["error_kind"] == "model_not_resolved"
    assert rows[1]["response"] is None
    assert rows[0]["text"] == "xxx"
    assert rows[0]["response"]["object"] == "chat.completion"
    assert rows[0]["response"]["choices"][0]["message"]["content"] == "xxx"
    assert answered.headers["x-swarm-models"] == "b,nobody,a"
    assert answered.headers["x-swarm-session"] == body["id"]
    assert int(answered.headers["x-lattice-total-ms"]) == 1000 * (LOAD_S + 3)


async def test_a_vote_is_a_completion_that_tells_how_it_came_about(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        answered = await ask(client, "/swarm/vote", strategy="longest")

    body, swarm = answered.body, answered.body["swarm"]
    assert (body["object"], body["model"]) == ("chat.completion", "swarm/a")
    assert body["choices"][0]["message"]["content"] == "xxx"
    assert (swarm["strategy"], swarm["winner"], swarm["winner_branch"]) == ("longest", "a", 0)
    assert [row["model"] for row in swarm["candidates"]] == ["a", "b"]
    assert body["usage"]["completion_tokens"] == 6
    assert answered.headers["x-swarm-strategy"] == "longest"
    assert answered.headers["x-swarm-winner"] == "a"
    assert answered.headers["x-model-routed-to"] == "swarm/a"


async def test_a_pipeline_tells_its_history_and_its_steps_safely(
    autojump_clock: MockClock,
) -> None:
    steps = [{"name": "first, é", "model": "a"}, {"model": "b", "max_tokens": 1}]
    async with open_client() as client:
        answered = await ask(client, "/swarm/pipeline", steps=steps)

    body = answered.body
    assert body["model"] == "swarm/pipeline/b"
    assert body["choices"][0]["message"]["content"] == "x"
    history = body["swarm"]["history"]
    told = [(step["name"], step["model"], step["text"]) for step in history]
    assert told == [("first, é", "a", "xxx"), ("step_2", "b", "x")]
    assert answered.headers["x-swarm-steps"] == "first%2C %C3%A9,step_2"
    assert answered.headers["x-swarm-strategy"] == "pipeline"


async def test_a_step_that_fails_is_a_502_with_the_steps_before_it(
    autojump_clock: MockClock,
) -> None:
    steps = [{"name": "good", "model": "a"}, {"name": "bad", "model": "b", "max_tokens": 50}]
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []

        async def pipeline() -> None:
            answers.append(await ask(client, "/swarm/pipeline", steps=steps))

        nursery.start_soon(pipeline)
        await trio.sleep(2 * LOAD_S + 3 + 2.5)
        client.house.plan.engines["b"].crash()

    (answered,) = answers
    assert answered.status == 502
    assert answered.body["error"]["message"].startswith("step 'bad' failed: ")
    assert [(step["name"], step["text"]) for step in answered.body["history"]] == [("good", "xxx")]
    assert answered.headers["x-swarm-error-kinds"] == "model_crashed=1"


async def test_a_step_for_which_there_is_no_model_fails_before_any_work(
    autojump_clock: MockClock,
) -> None:
    steps = [{"name": "good", "model": "a"}, {"name": "bad", "model": "nobody"}]
    async with open_client() as client:
        answered = await ask(client, "/swarm/pipeline", steps=steps)
        starts = client.house.starts

    assert (answered.status, starts) == (502, [])
    assert answered.body["history"] == []
    assert answered.headers["x-swarm-error-kinds"] == "model_not_resolved=1"


async def test_a_debate_tells_who_said_what_in_which_round(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        answered = await ask(client, "/swarm/debate", rounds=3)

    swarm = answered.body["swarm"]
    assert answered.body["model"] == "swarm/debate/a"
    assert (swarm["strategy"], swarm["rounds"], swarm["judge"]) == ("debate", 3, "a")
    said = [(one["round"], one["model"]) for one in swarm["transcript"]]
    assert said == [(number, model) for number in (1, 2, 3) for model in ("a", "b")]
    assert answered.headers["x-swarm-rounds"] == "3"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_swarm_of_which_all_fail_is_a_502_that_says_why(
    autojump_clock: MockClock, stream: bool
) -> None:
    async with open_client() as client:
        answered = await ask(client, "/swarm/vote", models=["no", "nobody"], stream=stream)

    assert answered.status == 502
    assert answered.body["error"]["code"] == "swarm_failed"
    details = answered.body["error_details"]
    assert (details["agent_count"], details["kinds"]) == (2, {"model_not_resolved": 2})
    assert "text" not in details["agents"][0]
    assert [row["agent_id"] for row in answered.body["candidates"]] == ["no", "nobody"]
    assert answered.headers["x-swarm-error-kinds"] == "model_not_resolved=2"


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


async def test_a_preset_that_was_set_while_running_can_be_asked(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        await client.house.lattice.catalog.set_presets({"Two": ("a", "b")})
        answered = await ask(client, "/swarm/fanout", models="preset:two")
        unknown = await ask(client, "/swarm/fanout", models=["preset:three"], stream=True)
        shown = (await client.send("GET", "/swarm/models")).body

    assert [row["model"] for row in answered.body["responses"]] == ["a", "b"]
    assert (unknown.status, unknown.body["error"]["param"]) == (400, "models")
    assert "there are: Two" in unknown.body["error"]["message"]
    assert shown["swarm_presets"] == {"Two": ["a", "b"]}


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


async def test_a_canonical_name_is_not_told_again(autojump_clock: MockClock) -> None:
    swarm = {"models": ["a", "b"], "strategy": "longest"}
    async with open_client() as client:
        answered = await ask(client, "/v1/chat/completions", model=" SwarmCouncil ", swarm=swarm)

    assert answered.body["model"] == "swarm/a"
    assert answered.body["swarm"]["requested_model"] == " SwarmCouncil "
    assert answered.headers["x-swarm-intent"] == "council"
    assert "x-swarm-canonical-name" not in answered.headers


async def test_a_pipeline_in_a_chat_is_sent_to_its_route(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        answered = await ask(client, "/v1/chat/completions", model="swarm/pipeline")

    assert answered.status == 400
    assert answered.body["redirect"] == "POST /swarm/pipeline"
    assert answered.body["error"]["param"] == "model"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/plan"])
async def test_only_a_chat_can_name_a_swarm(autojump_clock: MockClock, path: str) -> None:
    async with open_client() as client:
        answered = await client.send("POST", path, {"model": "swarmVote", "prompt": "x"})

    assert (answered.status, answered.body["error"]["param"]) == (400, "model")


async def test_names_of_swarms_are_ordinary_names_where_they_are_off(
    autojump_clock: MockClock,
) -> None:
    async with open_client(swarm_chat=False, on_model_miss="fallback") as client:
        answered = await ask(client, "/v1/chat/completions")

    assert answered.body["model"] == "a"
    assert "swarm" not in answered.body
    assert answered.headers["x-lattice-ignored-params"] == "swarm"


@pytest.mark.parametrize("path", ["/swarm/fanout", "/swarm/debate"])
async def test_a_server_of_one_model_has_no_swarms(autojump_clock: MockClock, path: str) -> None:
    async with open_client(model="somewhere") as client:
        answered = await ask(client, path)
        chat = await ask(client, "/v1/chat/completions")

    assert (answered.status, answered.body["error"]["code"]) == (503, "single_model")
    assert chat.status == 200
    assert "swarm" not in chat.body


async def test_what_is_wrong_after_expansion_is_named_as_the_chat_has_it(
    autojump_clock: MockClock,
) -> None:
    async with open_client(swarm_max_branches=2) as client:
        answered = await ask(client, "/v1/chat/completions", swarm={"models": ["auto"]})
        direct = await ask(client, "/swarm/fanout", models="available")

    assert (answered.status, answered.body["error"]["param"]) == (400, "swarm.models")
    assert (direct.status, direct.body["error"]["param"]) == (400, "models")
    assert "at most 2" in direct.body["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_gang_for_which_there_is_no_room_is_refused_whole(
    autojump_clock: MockClock, stream: bool
) -> None:
    limits = Limits(queue_max_per_model=1, ageing_s=100)
    async with open_client(limits) as client, trio.open_nursery() as nursery:
        await client.chat(max_tokens=1)
        for _ in range(8):
            nursery.start_soon(lambda: client.chat(max_tokens=300, queue=PATIENT))
        await trio.sleep(5)

        answered = await ask(
            client, "/swarm/fanout", models=[{"model": "a", "samples": 2}], stream=stream
        )

        assert answered.status == 429
        assert int(answered.headers["retry-after"]) >= 1
        assert answered.body["error"]["code"] == "queue_overloaded_model"
        assert (await client.house.lattice.admission.view()).waiting == ()
        nursery.cancel_scope.cancel()


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


async def test_a_silent_swarm_is_opened_and_kept_alive(autojump_clock: MockClock) -> None:
    async with open_client(keepalive_s=2.0) as client:
        answered = await ask(client, "/v1/chat/completions", stream=True, max_tokens=1)

    comments = [frame for frame in answered.frames if frame.startswith(": ")]
    assert comments[:2] == [": queued", ": queued"]
    assert answered.status == 200
    assert events(answered)[-1][1] == "[DONE]"


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


async def test_the_wishes_of_a_request_hold_for_its_branches(autojump_clock: MockClock) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        body = {**ROUTES["/swarm/fanout"], "messages": HELLO}
        more = {"X-Lattice-Priority": "batch"}
        answers: list[Answered] = []

        async def fan_out() -> None:
            answers.append(await client.send("POST", "/swarm/fanout", body, more=more))

        nursery.start_soon(fan_out)
        await trio.sleep(1)
        waiting = (await client.house.lattice.admission.view()).waiting
        nursery.cancel_scope.cancel()

    assert [one.klass.value for one in waiting] == ["batch", "batch"]


async def test_what_there_is_for_swarms_can_be_looked_up(autojump_clock: MockClock) -> None:
    presets = (("pair", ("a", "b")),)
    async with open_client(swarm_presets=presets, swarm_parallel=2) as client:
        shown = (await client.send("GET", "/swarm/models")).body
        health = (await client.send("GET", "/healthz")).body
        swarm = {"models": "preset:pair", "strategy": "longest"}
        council = await ask(client, "/v1/chat/completions", swarm=swarm)

    assert shown["models"] == ["a", "b", "c"]
    assert shown["swarm_presets"] == {"pair": ["a", "b"]}
    assert (shown["max_parallel"], health["max_parallel"]) == (2, 2)
    assert health["swarm_chat_aliases"]["swarmintelligence"] == {
        "intent": "council",
        "deprecated": True,
    }
    assert [row["agent_id"] for row in council.body["swarm"]["candidates"]] == ["a", "b"]


async def test_the_names_of_swarms_are_listed_for_those_who_ask(autojump_clock: MockClock) -> None:
    async with open_client() as client:
        plain = await client.send("GET", "/v1/models")
        more = await client.send("GET", "/v1/models", query="meta")
    async with open_client(swarm_chat=False) as client:
        off = await client.send("GET", "/v1/models", query="meta")

    assert [one["id"] for one in plain.body["data"]] == ["a", "b", "c"]
    assert [one["id"] for one in more.body["data"][3:]] == ["swarmCouncil", "swarm/fanout"]
    assert off.body == plain.body


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
