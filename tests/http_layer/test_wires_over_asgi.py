"""The other wires on the mock clock: nothing that is sent breaks them, nothing is left behind."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.actors.house import LOAD_S
from tests.http_layer.test_answers_over_asgi import Answered, open_client
from tests.http_layer.test_openai_body_laws import places, replaced
from tests.http_layer.test_wire_laws import MESSAGES, RESPONSES, TOKENIZE_CHAT, TOKENIZE_TEXT


def without_images(body: dict[str, Any], key: str) -> dict[str, Any]:
    """No model here takes them."""
    items = [
        {**item, "content": [part for part in item["content"] if "image" not in part["type"]]}
        if isinstance(item.get("content"), list)
        else item
        for item in body[key]
    ]
    return {**body, key: items}


WIRES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/messages", {**without_images(MESSAGES, "messages"), "max_tokens": 2}),
    ("/v1/messages/count_tokens", without_images(MESSAGES, "messages")),
    ("/v1/responses", without_images(RESPONSES, "input")),
    ("/tokenize", TOKENIZE_TEXT),
    ("/tokenize", TOKENIZE_CHAT),
]
VALUES: list[Any] = [None, [], {}, "", "x", -1, 2.5, 10**30, True, [[{}]], {"type": "x"}, "🙂" * 99]


async def test_no_body_at_all_gives_a_server_error(autojump_clock: MockClock) -> None:
    drawn = random.Random(5)
    seen: set[int] = set()
    async with open_client() as client:
        for _ in range(40):
            for path, body in WIRES:
                changed = replaced(body, drawn.choice(places(body)), drawn.choice(VALUES))
                answered = await client.send("POST", path, changed)
                seen.add(answered.status)
                if answered.status >= 400:
                    assert answered.body["error"]["message"], (path, changed)
        assert sum((await client.house.running()).values()) == 0
        assert client.gateway.working == 0

    assert max(seen) < 500
    assert {200, 400} <= seen


def events(answered: Answered) -> list[Any]:
    lines = [line for frame in answered.frames for line in frame.split("\n")]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


async def test_a_response_that_fails_is_told_and_not_kept(autojump_clock: MockClock) -> None:
    async with open_client() as client, trio.open_nursery() as nursery:
        answers: list[Answered] = []
        body = {"model": "a", "input": "hello", "stream": True}

        async def ask() -> None:
            answers.append(await client.send("POST", "/v1/responses", body))

        nursery.start_soon(ask)
        await trio.sleep(LOAD_S + 3.5)
        client.house.plan.engines["a"].crash()
        await trio.sleep(30)
        [answered] = answers
        told = events(answered)
        shown = await client.send("GET", f"/v1/responses/{told[0]['response']['id']}")

    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert told[-2]["code"] == "model_crashed"
    assert told[-1]["response"]["status"] == "failed"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert shown.status == 404


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("after_s", [1.0, LOAD_S + 0.5, LOAD_S + 3])
async def test_a_client_that_leaves_gives_everything_back(
    autojump_clock: MockClock, path: str, after_s: float
) -> None:
    turns = [{"role": "user", "content": "hello"}]
    body: Any = {"model": "a", "stream": True, "messages": turns, "input": "x", "max_tokens": 99}
    async with open_client() as client:
        await client.send("POST", path, body, leave_after_s=after_s)
        await trio.sleep(LOAD_S + 2)

        assert (await client.house.lattice.admission.view()).waiting == ()
        assert sum((await client.house.running()).values()) == 0
        assert client.gateway.working == 0


async def test_pages_of_input_items(autojump_clock: MockClock) -> None:
    said = [{"role": "user", "content": name, "id": name} for name in "abc"]
    async with open_client() as client:
        made = await client.send("POST", "/v1/responses", {"model": "a", "input": said})
        path = f"/v1/responses/{made.body['id']}/input_items"
        first = await client.send("GET", path, query="limit=2")
        rest = await client.send("GET", path, query="limit=2&after=b")
        wrong = [
            await client.send("GET", path, query=query)
            for query in ("limit=0", "limit=x", "order=up", "after=z")
        ]
        again = await client.send("GET", path.removesuffix("/input_items"), query="stream=true")

    assert [item["id"] for item in first.body["data"]] == ["c", "b"]
    assert (first.body["has_more"], rest.body["has_more"]) == (True, False)
    assert [item["id"] for item in rest.body["data"]] == ["a"]
    assert [one.body["error"]["param"] for one in wrong] == ["limit", "limit", "order", "after"]
    assert (again.status, again.body["error"]["param"]) == (400, "stream")
