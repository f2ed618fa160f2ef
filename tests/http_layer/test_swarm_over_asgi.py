"""Swarms through the app on the mock clock: real actors and sessions, engines that are fakes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.verdicts import Limits
from lattice_actors.engine.news import EngineRefusedLoad
from tests.actors.house import LOAD_S
from tests.http_layer.swarm_client import ROUTES, ask
from tests.http_layer.test_answers_over_asgi import HELLO, PATIENT, Answered, open_client


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


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


@pytest.mark.parametrize(
    ("path", "fields", "kinds"),
    [
        ("/swarm/fanout", {}, ["swarm_fanout", "swarm_fanout"]),
        ("/swarm/vote", {"strategy": "longest"}, ["swarm_vote", "swarm_vote"]),
        ("/swarm/pipeline", {}, ["swarm_pipeline", "swarm_pipeline"]),
        (
            "/swarm/debate",
            {"rounds": 2},
            [*["swarm_debate_round_1"] * 2, *["swarm_debate_round_2"] * 2, "swarm_debate_judge"],
        ),
        ("/v1/chat/completions", {"stream": True}, ["chat_swarm_vote", "chat_swarm_vote"]),
    ],
)
async def test_each_answer_within_a_swarm_is_told_with_its_kind(
    path: str, fields: dict[str, Any], kinds: list[str], autojump_clock: MockClock
) -> None:
    async with open_client() as client:
        await ask(client, path, **fields)
        state = (await client.house.lattice.metrics.look()).document
        past = await client.house.lattice.metrics.past()

    parts = [one.timeline.arrived.part for one in past if one.timeline is not None]
    assert sorted(part.kind for part in parts if part is not None) == sorted(kinds)
    [session] = state["swarms"].values()
    assert session["outcome"] == "ok"
    assert {branch["state"] for branch in session["branches"].values()} == {"ok"}
    shown = state["requests"].values()
    assert len(shown) == len(kinds)
    assert {one["swarm"]["request_id"] for one in shown} == {session["request_id"]}
    assert all(one["tokens"] and one["first_ms"] >= one["granted_ms"] for one in shown)


async def test_the_state_tells_as_what_each_answer_was_asked_and_why_who_answers(
    autojump_clock: MockClock,
) -> None:
    async with open_client() as client:
        client.house.plan.load_faults["a"] = EngineRefusedLoad("truncated", permanent=True)
        await client.chat(model="a,b")  # from now on it is known that a cannot answer
        await ask(client, "/swarm/debate", models=["a,b", "c"], rounds=1, judge="c,a")
        shown = (await client.house.lattice.metrics.look()).document["requests"].values()

    told = [
        (one["swarm"].get("branch"), one["spec"], one["model"], one.get("resolution"))
        for one in shown
        if "swarm" in one
    ]
    assert sorted(told, key=str) == [
        (0, "a,b", "b", "fallback (requested 'a,b', 'a' unavailable)"),
        (1, "c", "c", None),
        (None, "c,a", "c", None),
    ]
