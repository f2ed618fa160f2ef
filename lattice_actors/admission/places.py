"""Where each ticket is: it waits for a model, is held for it, or runs on it. Pure."""

from __future__ import annotations

from typing import Generic

import attrs

from .deficit import Waiter
from .fairness import Line
from .residence import Residence, Stream
from .verdicts import Facts, K


@attrs.define(eq=False)
class Places(Generic[K]):
    """Every ticket that has a place, by model and by itself. A ticket has at most one."""

    ageing_s: float
    homes: dict[str, Residence[K]] = attrs.field(factory=dict[str, Residence[K]])
    _where: dict[K, str] = attrs.field(factory=dict[K, str])

    def __contains__(self, ticket: K) -> bool:
        return ticket in self._where

    def home(self, model: str) -> Residence[K]:
        """Return what is known of *model*, which may be nothing yet."""
        home = self.homes.get(model)
        if home is None:
            home = self.homes[model] = Residence(model, Line(self.ageing_s))
        return home

    def home_of(self, ticket: K) -> Residence[K] | None:
        """Return where *ticket* has its place, if it has one."""
        model = self._where.get(ticket)
        return None if model is None else self.homes[model]

    def copy(self) -> Places[K]:
        """For asking "what if": the copy grants, but must not be aged."""
        homes = {model: home.copy() for model, home in self.homes.items()}
        return Places(self.ageing_s, homes, dict(self._where))

    # --- taking a place ---

    def wait(self, ticket: K, facts: Facts, now: float) -> Waiter[K]:
        """Put *ticket* in line."""
        self._where[ticket] = facts.model
        return self.home(facts.model).line.add(ticket, facts, now)

    def hold(self, ticket: K, facts: Facts) -> None:
        """Keep a place for *ticket*, which may not be granted yet."""
        self._where[ticket] = facts.model
        self.home(facts.model).held[ticket] = facts

    def run(self, ticket: K, stream: Stream, model: str) -> None:
        """Let *ticket*, which has left its line, run on *model*."""
        self._where[ticket] = model
        self.homes[model].streams[ticket] = stream

    # --- giving it back ---

    def forget_waiter(self, ticket: K) -> None:
        """Take *ticket*, which waits or is held, out."""
        home = self.homes[self._where.pop(ticket)]
        if home.held.pop(ticket, None) is None:
            home.line.remove(ticket)

    def forget_stream(self, ticket: K) -> None:
        """Take *ticket*, which runs, out."""
        del self.homes[self._where.pop(ticket)].streams[ticket]

    # --- over all models ---

    def age(self, now: float) -> None:
        """Let those who wait rise as their time has come."""
        for home in self.homes.values():
            home.line.age(now)

    def to_the_end(self, model: str) -> None:
        """Let *model* be wanted after those that are now: wants are told in the order of homes."""
        self.homes[model] = self.homes.pop(model)

    @property
    def waiters(self) -> tuple[Waiter[K], ...]:
        """All who wait, by model, in order of entering."""
        return tuple(waiter for home in self.homes.values() for waiter in home.line.waiters)

    @property
    def held(self) -> tuple[K, ...]:
        """All who are held."""
        return tuple(ticket for home in self.homes.values() for ticket in home.held)

    @property
    def running(self) -> tuple[K, ...]:
        """All who run, leaving ones too."""
        return tuple(ticket for home in self.homes.values() for ticket in home.streams)
