"""LM Studio as an upstream: what it has loaded decides, as `PREFER_LOADED_MODELS` says."""

from __future__ import annotations

import pytest

from lattice_actors.capability.question import NoRoute, Rules
from lattice_actors.catalog.entry import Kind
from lattice_actors.metrics.others import models
from lattice_actors.remote.plan import Policy
from tests.remote.fault_server import fault_server, listing, replying
from tests.remote.remotely import open_remote, plan


def loaded(*names: str) -> object:
    return {"data": [{"id": name, "state": "loaded"} for name in names]}


@pytest.mark.parametrize(
    ("policy", "spec", "model"),
    [
        ("strict", "auto", "lmstudio/warm"),
        ("strict", "cold", None),
        ("strict", "lmstudio/cold", None),
        ("prefer", "auto", "lmstudio/warm"),
        ("prefer", "cold", "lmstudio/cold"),
        ("prefer", "cold,warm", "lmstudio/warm"),
        ("ignore", "auto", "lmstudio/cold"),
        ("ignore", "cold,warm", "lmstudio/cold"),
    ],
)
async def test_the_policy_decides(policy: Policy, spec: str, model: str | None) -> None:
    async with fault_server(
        models=listing("cold", "warm", "text-embedding-x"), loaded=replying(200, loaded("warm"))
    ) as server:
        upstream = plan("lmstudio", server.url, kind="lmstudio", policy=policy)
        async with open_remote(upstream, rules=Rules(on_miss="error")) as remote:
            if model is not None:
                assert await remote.chosen(spec) == model
            else:
                missed = await remote.route(spec)
                assert isinstance(missed, NoRoute)
                assert "STRICT_LOADED_MODELS" in missed.message
                assert "available: lmstudio/warm" in missed.message


async def test_with_nothing_loaded_strict_lets_it_load() -> None:
    async with (
        fault_server(models=listing("cold"), loaded=replying(200, loaded())) as server,
        open_remote(
            plan("lmstudio", server.url, kind="lmstudio", policy="strict"),
        ) as remote,
    ):
        assert await remote.chosen("cold") == "lmstudio/cold"
        assert await remote.text("lmstudio/cold") == "abc"


async def test_without_a_list_of_what_is_loaded_all_can_be_chosen() -> None:
    async with (
        fault_server(models=listing("cold")) as server,
        open_remote(
            plan("lmstudio", server.url, kind="lmstudio", policy="strict", refresh_s=0.05),
        ) as remote,
    ):
        assert await remote.chosen("cold") == "lmstudio/cold"
        assert remote.view("lmstudio").loaded is None
        await remote.until(lambda: sum(seen.path == "/v1/models" for seen in server.seen) > 3)

        # It has none, and is not asked each time whether it has one now.
        assert sum(seen.path == "/api/v0/models" for seen in server.seen) == 1


async def test_what_is_loaded_is_seen_with_the_next_look() -> None:
    async with (
        fault_server(models=listing("a", "b"), loaded=replying(200, loaded("a"))) as server,
        open_remote(
            plan("lmstudio", server.url, kind="lmstudio", policy="strict"),
        ) as remote,
    ):
        before = await remote.chosen("auto")
        server.loaded = replying(200, loaded("b"))
        remote.lattice.upstreams.refresh()
        await remote.until(lambda: remote.view("lmstudio").loaded == ("b",))

        assert (before, await remote.chosen("auto")) == ("lmstudio/a", "lmstudio/b")


async def test_a_list_of_what_is_loaded_that_fails_once_changes_nothing() -> None:
    async with (
        fault_server(models=listing("a", "b"), loaded=replying(200, loaded("a"))) as server,
        open_remote(
            plan("lmstudio", server.url, kind="lmstudio", policy="strict", refresh_s=0.05),
        ) as remote,
    ):
        server.loaded = replying(500, {})
        looks = len(server.seen)
        await remote.until(lambda: len(server.seen) > looks + 4)

        assert await remote.chosen("b,a") == "lmstudio/a"


async def test_what_is_loaded_and_what_embeds_is_shown_so() -> None:
    own = {
        "data": [
            {"id": "warm", "state": "loaded", "type": "llm"},
            {"id": "plain-name", "state": "not-loaded", "type": "embeddings"},
        ]
    }
    async with (
        fault_server(
            models=listing("cold", "warm", "plain-name"), loaded=replying(200, own)
        ) as server,
        open_remote(plan("lmstudio", server.url, kind="lmstudio")) as remote,
    ):
        shown = models(remote.view("lmstudio"))
        listed = remote.lattice.upstreams.states()

        assert listed == {id_: one["state"] for id_, one in shown.items()}
        assert {id_: (one["state"], one["kind"]) for id_, one in shown.items()} == {
            "lmstudio/cold": ("cold", "chat"),
            "lmstudio/warm": ("ready", "chat"),
            "lmstudio/plain-name": ("cold", "embedding"),
        }
        assert await remote.chosen("auto", kind=Kind.EMBEDDING) == "lmstudio/plain-name"
