"""What a session gets of the gateway: whom it can ask, and tickets that are the caller's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Class
from lattice_actors.capability.question import Ask, NoRoute, Route
from lattice_actors.generation import Chat, Grammar
from lattice_actors.settings import Settings
from lattice_actors.swarm.asks import Manner
from lattice_http.gateway import Gateway
from lattice_http.openai.request import ModelRequest
from lattice_http.openai.wishes import Wishes
from lattice_http.prompted import Caller
from lattice_http.swarm.host import MOST_LOGPROBS, SwarmHost
from tests.actors.house import LOAD_S, House, open_house
from tests.remote.fault_server import fault_server, listing
from tests.remote.remotely import open_remote, plan

HELLO: Any = ({"role": "user", "content": "héllo"}, {"role": "assistant", "content": None})
LABELS = Grammar("choice", '["A", "B"]', "judge")


@asynccontextmanager
async def open_host(
    *,
    options: dict[str, Any] | None = None,
    settings: Settings | None = None,
    **request: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[SwarmHost, House]]:
    async with open_house() as house:
        gateway = Gateway(house.lattice, settings or Settings())
        caller = Caller("me", "r1", trio.current_time())
        asked = ModelRequest(spec="swarmCouncil", **request)
        yield SwarmHost(gateway, caller, asked, options or {}), house


async def ticket(host: SwarmHost, manner: Manner | None = None, **more: Any) -> Ticket:  # noqa: ANN401
    route = await host.route("a", HELLO)
    assert isinstance(route, Route)
    return host.ticket(route, HELLO, manner or Manner(), **more)


async def test_what_is_in_memory_and_what_there_is(autojump_clock: MockClock) -> None:
    settings = Settings(swarm_presets=(("pair", ("a", "b")),))
    async with open_host(settings=settings) as (host, house):
        before = await host.inventory()
        await house.ask("b", tokens=1)
        after = await host.inventory()

    assert (before.loaded, before.available) == ((), ("a", "b", "c"))
    assert (after.loaded, after.available) == (("b",), ("a", "b", "c"))
    assert after.presets == {"pair": ("a", "b")}


async def test_a_ticket_is_the_callers_and_in_the_manner_of_its_branch(
    autojump_clock: MockClock,
) -> None:
    wishes = Wishes(klass="batch", priority=2, max_wait_s=7, deadline_s=9)
    manner = Manner(max_tokens=11, temperature=0.3, top_p=0.4, seed=5)
    async with open_host(wishes=wishes, max_tokens=99, seed=1, top_k=3, stop=("x",)) as (host, _):
        await trio.sleep(LOAD_S)
        made = await ticket(host, manner)
        default = await ticket(host)

    job = made.job
    assert (made.model, made.key, made.klass, made.priority) == ("a", "me", Class.BATCH, 2)
    assert (made.arrived, made.wait_until, made.deadline) == (0, 7, 9)
    assert made.prompt_bytes == len("héllo".encode())
    assert (job.max_tokens, job.stop, job.principal) == (11, ("x",), "me")
    drawn = job.sampling
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.seed) == (0.3, 0.4, 3, 5)
    assert not made.stream.whole
    assert default.job.sampling.seed is None  # the session has the request's own manner
    assert default.job.max_tokens == 1024  # the profile's
    assert host.tickets == [made, default]
    assert host.queued


async def test_a_choice_among_labels_is_not_bent_by_what_the_caller_wants_of_texts(
    autojump_clock: MockClock,
) -> None:
    wanted: dict[str, Any] = {
        "stop": ("A",),
        "logit_bias": ((5, -100.0),),
        "presence_penalty": 1.0,
        "frequency_penalty": 1.0,
        "repetition_penalty": 2.0,
        "top_k": 1,
        "min_p": 0.9,
    }
    async with open_host(**wanted) as (host, _):
        judged = (await ticket(host, grammar=LABELS, logprobs=20, thinking=False)).job
        text = (await ticket(host)).job

    plain = attrs.evolve(judged.sampling, seed=None)
    assert (judged.grammar, judged.logprobs, judged.stop) == (LABELS, 20, ())
    assert (plain.logit_bias, plain.presence_penalty, plain.frequency_penalty) == ((), 0, 0)
    assert (plain.repetition_penalty, plain.top_k, plain.min_p) == (1, 0, 0)
    assert (text.stop, text.sampling.repetition_penalty, text.grammar) == (("A",), 2.0, None)


@pytest.mark.parametrize(
    ("thinking", "options"), [(True, {"x": 1}), (False, {"x": 1, "enable_thinking": False})]
)
async def test_reasoning_can_be_left_out(
    autojump_clock: MockClock, thinking: bool, options: dict[str, Any]
) -> None:
    async with open_host(options={"x": 1}) as (host, _):
        made = await ticket(host, thinking=thinking)

    assert isinstance(made.job.prompt, Chat)
    assert made.job.prompt.template_options == options


async def test_what_is_lowered_to_a_ceiling_is_told(autojump_clock: MockClock) -> None:
    async with open_host() as (host, _):
        made = await ticket(host, Manner(max_tokens=10**6))

    assert host.clamped == {f"max_tokens={made.job.max_tokens}": None}
    assert made.job.max_tokens < 10**6


async def test_the_context_is_the_profiles_and_a_miss_is_no_fallback(
    autojump_clock: MockClock,
) -> None:
    async with open_host() as (host, _):
        route = await host.route("a", HELLO)
        miss = await host.route("nobody", HELLO)

        assert isinstance(route, Route)
        assert host.context_tokens(route) == (await ticket(host)).job.context_tokens
        assert host.constrains(route)
        assert not host.constrains(attrs.evolve(route, backend="elsewhere"))
    assert isinstance(miss, NoRoute)


@pytest.mark.parametrize(("owner", "forced"), [("mlx", True), ("vllm", False)])
async def test_a_judge_at_another_lattice_is_forced_to_choose(owner: str, forced: bool) -> None:
    """It takes the grammar, and as many likely tokens as OpenAI's protocol has room for."""
    models = listing("m", owned_by=owner, **({"kind": "chat"} if forced else {}))
    async with fault_server(models=models) as server, open_remote(plan("up", server.url)) as remote:
        gateway = Gateway(remote.lattice, Settings())
        caller = Caller("me", "r1", trio.current_time())
        host = SwarmHost(gateway, caller, ModelRequest(spec="swarmCouncil"), {})
        route = await host.route("up/m", HELLO)
        assert isinstance(route, Route)

        asked = host.ticket(route, HELLO, Manner(max_tokens=1), logprobs=1000)

        assert host.constrains(route) is forced
        assert asked.job.logprobs == MOST_LOGPROBS


async def test_the_callers_bound_holds_for_every_branch() -> None:
    asked: list[Ask] = []

    class Lattice:
        async def route(self, ask: Ask) -> tuple[NoRoute, None]:
            asked.append(ask)
            return NoRoute("none", "model_not_found"), None

    lattice: Any = Lattice()
    request = ModelRequest(spec="x", wishes=Wishes(locality="local-only", latency_tier="fast"))
    host = SwarmHost(Gateway(lattice, Settings()), Caller("me", "r1", 0.0), request, {})

    await host.route("role:coder", HELLO)

    (ask,) = asked
    assert (ask.spec, ask.bound, ask.allow_fallback) == ("role:coder", "local-only", False)
    assert not ask.hints.prefers_fast  # a header's wish is for one model
