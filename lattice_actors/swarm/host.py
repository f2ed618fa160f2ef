"""What a swarm needs of the world outside: models by name, tickets, and grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.generation import Grammar, JsonObject

from .asks import Manner


@attrs.frozen
class Inventory:
    """Who could be asked now: ids of models that chat, in the order of the inventory."""

    loaded: tuple[str, ...] = ()
    available: tuple[str, ...] = ()  # the loaded ones too
    presets: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])


class Host(Protocol):
    """Resolves names and makes tickets, for the caller of one swarm."""

    @property
    def generation_timeout_s(self) -> float:
        """How long one answer may take from its grant; then it ends as it is."""

    async def inventory(self) -> Inventory:
        """Who could be asked now."""

    async def route(self, spec: str, messages: Sequence[JsonObject]) -> Route | NoRoute:
        """Say which model *spec* means for *messages*. A miss never falls back."""

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
        """Return a fresh ticket with a stream of its own. Nothing is queued.

        *manner* falls back on the model's profile and is clamped to its ceilings. Without
        *thinking* the chat template is told to leave reasoning out. Never raises: whether the
        messages fit is for admission and the engine.
        """

    def context_tokens(self, route: Route) -> int:
        """Return how many tokens prompt and answer of *route* may have together."""

    def constrains(self, route: Route) -> bool:
        """Say whether *route* honours a grammar and tells logprobs: a judge is forced to choose."""


class Admission(Protocol):
    """The part of `AdmissionHandle` that a swarm uses."""

    def gang(
        self, now: Sequence[Ticket], later: Sequence[Ticket]
    ) -> AbstractAsyncContextManager[object]:
        """Enter all tickets with one message, all or nothing; leaving withdraws them.

        Raises, on entering:
            QueueRefused: there is no room for the whole.
        """

    def eligible(self, ticket: Ticket) -> None:
        """A ticket of *later* may be granted from now on: its job and prompt are known."""

    def grant(self, ticket: Ticket) -> AbstractAsyncContextManager[float]:
        """Hold a slot and a lease for a ticket of the gang; the answer comes on its stream."""
