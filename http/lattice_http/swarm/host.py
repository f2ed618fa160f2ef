"""What a swarm session needs of the gateway: models by name, and tickets for its branches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.hints import infer
from lattice_actors.capability.question import Ask, NoRoute, Route
from lattice_actors.catalog.entry import CLOUD, LOCAL, Kind
from lattice_actors.generation import Chat, Grammar, JsonObject
from lattice_actors.swarm.asks import Manner
from lattice_actors.swarm.host import Inventory
from lattice_http.cloud import bound_of
from lattice_http.gateway import Gateway
from lattice_http.openai.request import ModelRequest
from lattice_http.prompted import Caller, Prompted
from lattice_http.ticketing import Chosen, tickets_for

from .facts import presets_of

MOST_LOGPROBS = 20  # of one token, in OpenAI's protocol


@attrs.define(eq=False)
class SwarmHost:
    """Tickets as the caller of one swarm would get them. Is a `lattice_actors.swarm.host.Host`."""

    _gateway: Gateway
    _caller: Caller
    _request: ModelRequest  # sampling and wishes, for all branches
    _template_options: JsonObject
    tickets: list[Ticket] = attrs.field(init=False, factory=list[Ticket])
    clamped: dict[str, None] = attrs.field(init=False, factory=dict[str, None])
    routes: dict[str, Route] = attrs.field(init=False, factory=dict[str, Route])  # last, by spec
    _chosen: dict[str, Chosen] = attrs.field(init=False, factory=dict[str, Chosen])  # by model

    @property
    def generation_timeout_s(self) -> float:
        """How long one answer may take from its grant."""
        return self._gateway.settings.generation_timeout_s

    async def inventory(self) -> Inventory:
        """Who could be asked now."""
        lattice = self._gateway.lattice
        world = await lattice.catalog.world()
        models = world.snapshot.models
        outlook = await lattice.admission.outlook()
        # A swarm asks the cloud only where it is named.
        chats = tuple(
            entry.id for entry in models if entry.kind is Kind.CHAT and entry.backend != CLOUD
        )
        loaded = tuple(one for one in chats if one in outlook and outlook[one].resident)
        return Inventory(loaded, chats, presets_of(self._gateway.settings, world.rules))

    async def route(self, spec: str, messages: Sequence[JsonObject]) -> Route | NoRoute:
        """Say which model *spec* means for *messages*; a header's latency tier says nothing."""
        settings = self._gateway.settings
        ask = Ask(
            spec=spec,
            hints=infer(messages, long_prompt_chars=settings.route_long_prompt_chars),
            bound=bound_of(self._request.wishes, settings),
            allow_fallback=False,
        )
        route, world = await self._gateway.lattice.route(ask)
        if isinstance(route, Route):
            self.routes[spec] = route
            self._chosen[route.model] = Chosen.of(world, route.model)
        return route

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
        """Return a fresh ticket; nothing is queued."""
        request = attrs.evolve(
            self._request,
            spec=route.model,
            max_tokens=manner.max_tokens,
            temperature=manner.temperature,
            top_p=manner.top_p,
            seed=manner.seed,
            grammar=grammar,
            logprobs=logprobs,
            stream=True,  # the session reads as it comes, whatever the client does
        )
        if logprobs is not None and route.backend != LOCAL:
            request = attrs.evolve(request, logprobs=min(logprobs, MOST_LOGPROBS))
        if grammar is not None:  # a choice among labels: nothing may bend or stop it
            request = attrs.evolve(
                request,
                stop=(),
                logit_bias=(),
                presence_penalty=0.0,
                frequency_penalty=0.0,
                repetition_penalty=1.0,
                top_k=None,
                min_p=None,
            )
        options = dict(self._template_options)
        if not thinking:
            options["enable_thinking"] = False
        prompted = Prompted(
            request=request,
            prompts=(Chat(tuple(messages), options),),
            prompt_bytes=(sum(len(_text(turn).encode("utf-8", "replace")) for turn in messages),),
            messages=messages,
        )
        chosen, settings = self._chosen[route.model], self._gateway.settings
        (ticket,), clamped = tickets_for(prompted, self._caller, chosen, settings)
        self.clamped |= dict.fromkeys(clamped)
        self.tickets.append(ticket)
        return ticket

    def context_tokens(self, route: Route) -> int:
        """Return how many tokens prompt and answer of *route* may have together."""
        return self._chosen[route.model].context_tokens

    def constrains(self, route: Route) -> bool:
        """Say whether *route* honours a grammar and tells logprobs."""
        if route.backend == LOCAL:
            return True
        views = self._gateway.lattice.upstreams.views()
        return any(view.name == route.backend and view.kind == "lattice" for view in views)

    @property
    def queued(self) -> bool:
        """No ticket has been granted yet."""
        return all(math.isnan(ticket.granted_at) for ticket in self.tickets)


def _text(turn: JsonObject) -> str:
    content = turn.get("content")
    return content if isinstance(content, str) else ""
