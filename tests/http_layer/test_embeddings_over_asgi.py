"""Embeddings on the mock clock: real actors, and an engine that never ends a request by itself."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from lattice_actors.catalog.entry import Kind
from lattice_actors.settings import Settings
from lattice_http.app import make_app
from lattice_http.gateway import Gateway
from lattice_http.security import SecurityPolicy
from tests.actors.house import STEP_S, open_house
from tests.http_layer.test_answers_over_asgi import Client


async def test_vectors_that_came_too_late_are_an_error_and_not_half_an_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_house(kind=Kind.EMBEDDING) as house:
        gateway = Gateway(house.lattice, Settings(generation_timeout_s=0.5))
        client = Client(make_app(gateway, SecurityPolicy()), house, gateway)

        answered = await client.send("POST", "/v1/embeddings", {"model": "a", "input": "hi"})

        assert (answered.status, answered.body["error"]["code"]) == (429, "deadline_exceeded")


async def test_a_client_that_leaves_gives_back_what_it_held(autojump_clock: MockClock) -> None:
    async with open_house(kind=Kind.EMBEDDING) as house:
        gateway = Gateway(house.lattice, Settings())
        client = Client(make_app(gateway, SecurityPolicy()), house, gateway)

        for leave_after_s in (0.5, 5.5):  # while it loads, and while it runs
            await client.send(
                "POST", "/v1/embeddings", {"input": "hi"}, leave_after_s=leave_after_s
            )

        assert gateway.working == 0
        await trio.sleep(STEP_S)  # in which the engine lets go
        assert await house.running() == {"a": 0}
