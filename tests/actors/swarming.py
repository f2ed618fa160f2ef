"""A world for swarms on the mock clock: models that follow a script, and a queue that has room."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.errors import LatticeError
from lattice_actors.generation import (
    Chat,
    Delta,
    Finish,
    FinishReason,
    Grammar,
    Job,
    JsonObject,
    Sampling,
    TokenLogprob,
    Usage,
)
from lattice_actors.swarm.asks import Agent, Ensemble, Limits, Manner, Strategy, SwarmAsk
from lattice_actors.swarm.events import AnswerPiece, Event, Outcome
from lattice_actors.swarm.host import Inventory
from lattice_actors.swarm.judge import LABELS
from lattice_actors.swarm.session import SwarmSession, open_swarm

PROMPT_TOKENS = 10

USER = ({"role": "user", "content": "why?"},)

# One second, then a piece; a number is so many seconds more; an error ends the answer.
Said = str | Delta | float | LatticeError
Script = Callable[[Job], Sequence[Said]]


def says(*said: Said) -> Script:
    """Whatever it is asked."""
    return lambda job: said


def ensemble(
    *specs: str,
    strategy: Strategy = Strategy.LONGEST,
    **more: Any,  # noqa: ANN401 - fields of an ensemble
) -> Ensemble:
    agents = tuple(Agent(spec) for spec in specs)
    return attrs.evolve(Ensemble(agents, USER, strategy), **more)


def shown(job: Job) -> tuple[JsonObject, ...]:
    """The messages of a job."""
    assert isinstance(job.prompt, Chat)
    return job.prompt.messages


def text_shown(job: Job) -> str:
    return "\n".join(f"{m['role']}: {m['content']}" for m in shown(job))


def letters(**probabilities: float) -> Delta:
    """A judge's one token, with how likely it found each letter."""
    top = sorted(((k.encode(), math.log(p)) for k, p in probabilities.items()), key=lambda x: -x[1])
    return Delta(top[0][0].decode(), logprobs=(TokenLogprob(*top[0], top),))


def prefers(text: str, share: float = 0.8) -> Script:
    """A judge that likes the answer *text*, wherever it stands."""

    def judge(job: Job) -> list[Delta]:
        asked = text_shown(job)
        labels = [x for x in LABELS if f"Answer {x}:" in asked]
        place = asked.find(f"\n{text}")
        if place < 0:  # it is not in this heat
            return [letters(**dict.fromkeys(labels, 0.9 / len(labels)))]
        best = max((x for x in labels if asked.index(f"Answer {x}:") < place), key=labels.index)
        rest = (0.9 - share) / (len(labels) - 1)
        return [letters(**{x: share if x == best else rest for x in labels})]

    return judge


@attrs.define(eq=False)
class World:
    """Host and admission in one. *granted* are the jobs of each model, in time."""

    scripts: dict[str, Script]
    nursery: trio.Nursery
    constrained: bool = True
    context: int = 8192
    generation_timeout_s: float = 300.0
    refuse_gang: LatticeError | None = None
    presets: dict[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])
    members: set[Ticket] = attrs.field(init=False, factory=set[Ticket])
    held: set[Ticket] = attrs.field(init=False, factory=set[Ticket])
    running: dict[Ticket, trio.CancelScope] = attrs.field(init=False, factory=dict)
    granted: list[tuple[str, Job]] = attrs.field(init=False, factory=list)
    most_running: int = attrs.field(init=False, default=0)
    freed: list[tuple[str, float]] = attrs.field(init=False, factory=list)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    # --- host -------------------------------------------------------------------------------

    async def inventory(self) -> Inventory:
        await trio.lowlevel.checkpoint()
        return Inventory(tuple(self.scripts), tuple(self.scripts), self.presets)

    async def route(self, spec: str, messages: Sequence[JsonObject]) -> Route | NoRoute:
        await trio.lowlevel.checkpoint()
        name = spec.removeprefix("role:")
        if name in self.scripts:
            return Route(name, "mlx")
        return NoRoute(f"no model answers to {spec!r}", "model_not_found")

    def ticket(
        self,
        route: Route,
        messages: Sequence[JsonObject],
        manner: Manner,
        *,
        grammar: Grammar | None = None,
        logprobs: int | None = None,
        thinking: bool = True,
    ) -> Ticket:
        sampling = Sampling(
            temperature=0.7 if manner.temperature is None else manner.temperature, seed=manner.seed
        )
        options = {} if thinking else {"enable_thinking": False}
        job = Job(
            Chat(tuple(messages), options),
            manner.max_tokens or 100,
            sampling=sampling,
            logprobs=logprobs,
            grammar=grammar,
        )
        now = trio.current_time()
        return Ticket("r", route.model, job, len(str(messages)), now, now + 20)

    def context_tokens(self, route: Route) -> int:
        return self.context

    def constrains(self, route: Route) -> bool:
        return self.constrained

    # --- admission --------------------------------------------------------------------------

    @asynccontextmanager
    async def gang(self, now: Sequence[Ticket], later: Sequence[Ticket]) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        if self.refuse_gang is not None:
            raise self.refuse_gang
        assert not self.members, "one gang a swarm"
        self.members = {*now, *later}
        self.held = set(later)
        try:
            yield
        finally:
            self.members = set()

    def eligible(self, ticket: Ticket) -> None:
        assert ticket in self.held
        self.held.discard(ticket)
        self._news.set()
        self._news = trio.Event()

    @asynccontextmanager
    async def grant(self, ticket: Ticket) -> AsyncIterator[float]:
        assert ticket in self.members, "every ticket enters with the gang"
        while ticket in self.held:
            await self._news.wait()
        await trio.lowlevel.checkpoint()
        ticket.granted_at = trio.current_time()
        self.granted.append((ticket.model, ticket.job))
        scope = self.running[ticket] = trio.CancelScope()
        self.most_running = max(self.most_running, len(self.running))
        self.nursery.start_soon(self._answer, ticket, scope)
        try:
            yield 0.0
        finally:
            scope.cancel()
            del self.running[ticket]
            self.freed.append((ticket.model, trio.current_time()))

    async def _answer(self, ticket: Ticket, scope: trio.CancelScope) -> None:
        tokens = 0
        with scope:
            for said in self.scripts[ticket.model](ticket.job):
                await trio.sleep(said if isinstance(said, float) else 1)
                if isinstance(said, LatticeError):
                    ticket.stream.fail(said)
                    return
                if not isinstance(said, float):
                    tokens += 1
                    ticket.stream.push(said if isinstance(said, Delta) else Delta(said))
            ticket.stream.finish(Finish(FinishReason.STOP, Usage(PROMPT_TOKENS, tokens)))

    def jobs_of(self, model: str) -> list[Job]:
        return [job for name, job in self.granted if name == model]


@asynccontextmanager
async def open_world(scripts: dict[str, Script]) -> AsyncIterator[World]:
    """A world in which nothing may be left running at the end."""
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            world = World(scripts, nursery)
            yield world
            assert not world.running
            assert not world.members


async def events_of(session: SwarmSession) -> list[Event]:
    """Read a session to its end. Raises what it ends with."""
    events: list[Event] = []
    while not events or not isinstance(events[-1], Outcome):
        events += await session.receive()
    return events


async def hold(
    ask: SwarmAsk, world: World, limits: Limits | None = None
) -> tuple[Outcome, list[Event]]:
    """Run a whole swarm and return its outcome and all its events."""
    async with open_swarm(ask, world, world, limits) as session:
        events = await events_of(session)
    outcome = events[-1]
    assert isinstance(outcome, Outcome)
    pieces = "".join(event.text for event in events if isinstance(event, AnswerPiece))
    assert pieces == outcome.text  # whatever the strategy
    return outcome, events
