"""What every route holds: the actors, the settings, and the answers in work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Class
from lattice_actors.capability.hints import Hints, infer
from lattice_actors.capability.profiles import Profile
from lattice_actors.capability.question import Ask, NoRoute, Route
from lattice_actors.catalog.entry import Kind
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
from lattice_actors.generation import Job, JsonObject, Prompt, Sampling
from lattice_actors.lattice import Lattice
from lattice_actors.settings import Settings
from lattice_actors.stream import TokenStream

from .answering import Answering
from .cloud import CONTEXT, Escalation, bound_of
from .openai.request import ModelRequest
from .openai.wishes import Wishes

CLASSES = {"interactive": Class.INTERACTIVE, "normal": Class.NORMAL, "batch": Class.BATCH}


@attrs.frozen
class Caller:
    """Who asks, and since when (Trio seconds)."""

    principal: str
    request_id: str
    arrived: float


@attrs.frozen
class Prompted:
    """One request as the scheduler needs it: what is asked, of whom it may be asked."""

    request: ModelRequest
    prompts: tuple[Prompt, ...]  # `request.n` answers each
    prompt_bytes: tuple[int, ...]  # UTF-8, of each
    messages: Sequence[JsonObject] = ()  # for hints and stickiness
    text: str | None = None  # the same, where there are no messages
    image_param: str | None = None  # the first image, "messages[0].content[1]"
    kind: Kind = Kind.CHAT  # of the models that may answer

    @property
    def choices(self) -> int:
        """How many answers there will be: all to the first prompt, then all to the second."""
        return len(self.prompts) * self.request.n

    def hints(self, long_prompt_chars: int) -> Hints:
        """What the request needs of a model, beside its name."""
        tier = self.request.wishes.latency_tier
        read = infer(self.messages, self.text, tier, long_prompt_chars)
        image = self.image_param
        return attrs.evolve(read, needs_vision=image is not None, vision_part=image)


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
            raise _no_route(route)
        profile = world.profiles[route.model]
        entry = world.snapshot.get(route.model)
        context = entry.context_tokens if entry is not None else None
        tickets, clamped = self.tickets(prompted, caller, route.model, profile, context)
        if keys.remember is not None:
            self.lattice.catalog.remember(keys.remember, route.model)
        return Routed(route, tickets, keys, trio.current_time() - started, clamped)

    def tickets(
        self,
        prompted: Prompted,
        caller: Caller,
        model: str,
        profile: Profile,
        context_tokens: int | None,
    ) -> tuple[tuple[Ticket, ...], tuple[str, ...]]:
        """Return a ticket for each answer, and what had to be lowered to a ceiling.

        Several answers to one prompt have seeds in a row. The first keeps the patience of the
        request; the others may also wait until those before them are over.
        """
        request, settings = prompted.request, self.settings
        context = min(profile.context_window, context_tokens or profile.context_window)
        max_tokens = request.max_tokens
        clamped: tuple[str, ...] = ()
        if max_tokens is None:
            max_tokens = min(profile.default_max_tokens, profile.max_tokens_ceiling, context)
        elif max_tokens > profile.max_tokens_ceiling:
            max_tokens = profile.max_tokens_ceiling
            clamped = (f"max_tokens={max_tokens}",)
        sampling = request.sampling(
            Sampling(temperature=profile.temperature_default, top_p=profile.top_p_default)
        )
        wait_until, deadline, klass, priority = self._patience(request.wishes, caller.arrived)
        tickets = tuple(
            Ticket(
                request_id=caller.request_id,
                model=model,
                job=Job(
                    prompt=prompt,
                    max_tokens=max_tokens,
                    shorten=request.shorten or request.max_tokens is None or bool(clamped),
                    sampling=_with_seed_of(sampling, number),
                    logprobs=request.logprobs,
                    grammar=request.grammar,
                    tool_use=request.tool_use,
                    stop=request.stop,
                    context_tokens=context,
                    trim=settings.context_over_budget == "trim"
                    if request.trim is None
                    else request.trim,
                    trim_buffer=settings.context_trim_buffer,
                    principal=caller.principal,
                    count=request.count,
                ),
                prompt_bytes=size,
                arrived=caller.arrived,
                wait_until=wait_until + (settings.generation_timeout_s if number else 0.0),
                deadline=deadline,
                key=caller.principal,
                klass=klass,
                priority=priority,
                stream=TokenStream(whole=not request.stream),
            )
            for prompt, size in zip(prompted.prompts, prompted.prompt_bytes, strict=True)
            for number in range(request.n)
        )
        return tickets, clamped

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

    def _patience(self, wishes: Wishes, arrived: float) -> tuple[float, float, Class, int]:
        settings = self.settings
        least, most = settings.queue_priority_min, settings.queue_priority_max
        wished = wishes.priority if wishes.priority is not None else settings.queue_priority_default
        priority = max(least, min(most, wished))
        klass = CLASSES[wishes.klass] if wishes.klass else Class.from_priority(priority)
        wait_s = wishes.max_wait_s if wishes.max_wait_s is not None else settings.queue_wait_s
        deadline = arrived + wishes.deadline_s if wishes.deadline_s is not None else float("inf")
        return arrived + wait_s, deadline, klass, priority


def _with_seed_of(sampling: Sampling, number: int) -> Sampling:
    """Return how the answer *number* to a prompt is drawn: the first as if it were alone."""
    if sampling.seed is None or number == 0:
        return sampling
    return attrs.evolve(sampling, seed=sampling.seed + number)


def _no_route(no_route: NoRoute) -> Exception:
    match no_route.code:
        case "model_unavailable":
            family = LoadFailed if no_route.retry_after_s is None else ModelQuarantined
            return family(
                no_route.message, code=no_route.code, retry_after_s=no_route.retry_after_s
            )
        case "no_model_for_constraints":
            return BadRequest(no_route.message, code=no_route.code, param=no_route.param)
        case _:
            return ModelNotFound(no_route.message, code=no_route.code, param=no_route.param)
