"""One request for one model, from its arrival to the last word of its backend."""

from __future__ import annotations

import math
from typing import Protocol

import attrs

from lattice_actors.generation import Job
from lattice_actors.stream import TokenStream

from .verdicts import Class


@attrs.define(eq=False)
class Gang:
    """What the tickets of one swarm have in common; it outlives incarnations of admission."""

    id: str
    held: set[Ticket]  # may not be granted yet
    begun: bool = False  # one of them has been granted: they wait for the rest, however long


@attrs.define(eq=False)  # compared by identity
class Ticket:
    """What waits in the queue and then runs. Times are Trio seconds."""

    request_id: str
    model: str
    job: Job
    prompt_bytes: int  # UTF-8 bytes of the prompt's text: tokens are not known before a load
    arrived: float
    wait_until: float = math.inf  # arrival and wait budget
    deadline: float = math.inf  # the answer must be over
    key: str = "anonymous"  # principal: fairness is between these
    klass: Class = Class.NORMAL
    priority: int = 0  # inside the class, higher first
    stream: TokenStream = attrs.field(factory=TokenStream)
    granted_at: float = math.nan
    ready_at: float = math.nan  # set with the grant: since when its model was ready
    gang: Gang | None = None  # set by the handle: the swarm that it entered with

    def __repr__(self) -> str:
        return f"<Ticket {self.request_id} for {self.model}>"


class Backend(Protocol):
    """Where a granted ticket runs: a model actor or an upstream. Telling only, no waiting."""

    @property
    def model(self) -> str:
        """Whose tickets it runs."""

    def begin(self, ticket: Ticket) -> None:
        """Run it; it answers through its stream, and `Ended` is told to admission once."""

    def cancel(self, ticket: Ticket) -> None:
        """Nobody reads it any more; `Ended` comes as soon as the backend has let go."""

    def take_census(self) -> None:
        """Tell admission what is true here: it has lost its memory."""
