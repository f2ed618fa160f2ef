"""What every route holds: the actors, the settings, and the answers in work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import Ask, NoRoute, Route
from lattice_actors.catalog.stickiness import ConversationKeys, conversation_keys
from lattice_actors.catalog.world import World
from lattice_actors.errors import (
    BadRequest,
    LatticeError,
    LoadFailed,
    ModelNotFound,
    ModelQuarantined,
    RequestCancelled,
    ShuttingDown,
)
from lattice_actors.lattice import Lattice
from lattice_actors.settings import Settings

from .answering import Answering
from .cloud import CONTEXT, Escalation, bound_of
from .prompted import Caller, Prompted
from .ticketing import Chosen, tickets_for


@attrs.frozen
class Routed:
    """A resolved request with its tickets."""

    route: Route
    tickets: tuple[Ticket, ...]
    conversation: ConversationKeys
    resolve_s: float
    clamped: tuple[str, ...] = ()  # "max_tokens=16384": what was lowered to a ceiling


class Working(Protocol):
    """What is in work for one request: one model's answers, or a swarm."""

    @property
    def request_id(self) -> str: ...
    @property
    def queued(self) -> bool: ...  # nothing has been granted yet
    def fail(self, error: LatticeError) -> None: ...  # end it, from outside


@attrs.define(eq=False)
class Gateway:
    """The door between HTTP and the actors."""

    lattice: Lattice
    settings: Settings
    draining: bool = False  # nothing new is taken
    escalation: Escalation = attrs.field(init=False)
    _working: set[Working] = attrs.field(init=False, factory=set[Working])

    def __attrs_post_init__(self) -> None:
        self.escalation = Escalation.of(self.settings)

    async def route(
        self,
        prompted: Prompted,
        caller: Caller,
        avoid: frozenset[str] = frozenset(),
        escalate: str | None = None,
    ) -> tuple[Route | NoRoute, World, ConversationKeys]:
        """Say which model answers, and why, but for those to *avoid*. No side effects.

        *escalate* is why the cloud goes first where the caller named no model.
        """
        request = prompted.request
        keys = conversation_keys(caller.principal, prompted.messages)
        ask = Ask(
            spec=request.spec,
            hints=prompted.hints(self.settings.route_long_prompt_chars),
            bound=bound_of(request.wishes, self.settings),
            avoid=avoid,
            kind=prompted.kind,
            escalate=escalate or self.escalation.at_once(request.wishes, prompted.messages),
        )
        route, world = await self.lattice.route(ask, keys.look_up)
        if isinstance(route, NoRoute) and self.escalation.fits(route.constraints, request.wishes):
            ask = attrs.evolve(ask, escalate=CONTEXT)
            route, world = await self.lattice.route(ask, keys.look_up)
        return route, world, keys

    async def prepare(
        self,
        prompted: Prompted,
        caller: Caller,
        avoid: frozenset[str] = frozenset(),
        escalate: str | None = None,
    ) -> Routed:
        """Resolve as `route` does, and make the tickets.

        Raises:
            ModelNotFound, BadRequest: nothing here may answer this.
            Unavailable: what may answer is broken or quarantined, or the server is going away.
        """
        if self.draining:
            raise ShuttingDown("the server is shutting down")
        started = trio.current_time()
        route, world, keys = await self.route(prompted, caller, avoid, escalate)
        if isinstance(route, NoRoute):
            raise no_route(route)
        chosen = Chosen.of(world, route.model)
        tickets, clamped = tickets_for(prompted, caller, chosen, self.settings)
        if keys.remember is not None:
            self.lattice.catalog.remember(keys.remember, route.model)
        return Routed(route, tickets, keys, trio.current_time() - started, clamped)

    @asynccontextmanager
    async def answering(self, tickets: tuple[Ticket, ...]) -> AsyncIterator[Answering]:
        """Hold the grants of *tickets* and read their streams; leaving cancels all of it."""
        answering = Answering(self.lattice.admission, tickets, self.settings.generation_timeout_s)
        with self.registered(answering):
            async with answering:
                yield answering

    def drain(self) -> None:
        """The server is going away: take nothing new, and send the waiting home now."""
        self.draining = True
        for working in list(self._working):
            if working.queued:
                working.fail(ShuttingDown("the server is shutting down"))

    def cut(self) -> None:
        """The grace is over: every answer ends with an error its client can read."""
        for working in list(self._working):
            working.fail(ShuttingDown("the server is shutting down"))

    def cancel(self, request_id: str) -> bool:
        """End the answers to one request; False when there is none."""
        found = [working for working in self._working if working.request_id == request_id]
        for working in found:
            working.fail(RequestCancelled("cancelled by an operator"))
        return bool(found)

    @property
    def single(self) -> bool:
        """One model answers everything, whatever a request names (`--model`)."""
        return self.settings.model is not None

    @property
    def takes_swarms(self) -> bool:
        """The names of swarms mean swarms in a chat."""
        return self.settings.swarm_chat and not self.single

    @property
    def working(self) -> int:
        """How many requests are waiting for or getting answers."""
        return len(self._working)

    @contextmanager
    def registered(self, working: Working) -> Iterator[None]:
        """Let the end of the server, and operators, find *working*."""
        self._working.add(working)
        try:
            yield
        finally:
            self._working.discard(working)


def no_route(found: NoRoute) -> LatticeError:
    """Return the error of the family that *found* belongs to."""
    match found.code:
        case "model_unavailable":
            family = LoadFailed if found.retry_after_s is None else ModelQuarantined
            return family(found.message, code=found.code, retry_after_s=found.retry_after_s)
        case "no_model_for_constraints":
            return BadRequest(found.message, code=found.code, param=found.param)
        case _:
            return ModelNotFound(found.message, code=found.code, param=found.param)
