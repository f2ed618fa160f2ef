"""The answers of one model: what its engine is given to do, and the last word on each ticket.

A part of the model actor. `runs.py` decides who begins, now and after a crash; here it is carried
out. Every ticket that was granted gets exactly one end, told to its reader and to admission.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256

import attrs
import trio

from lattice_actors.admission.handle import AdmissionHandle
from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Capacity
from lattice_actors.catalog.entry import Kind
from lattice_actors.engine.process import EngineProcess
from lattice_actors.errors import LatticeError, ModelCrashed, RequestCrashesEngine
from lattice_actors.generation import Embed, Job, Sampling, Tokens
from lattice_actors.stream import TokenStream

from .poison import Poison
from .runs import Loss, Runs

IDLE_UNTRUSTED_S = 300.0  # an engine that rested longer proves first that it still decodes
CANARY_RID = 0  # `Runs` counts from 1
CANARY = Job(Tokens((0,)), max_tokens=1, sampling=Sampling(temperature=0.0))
EMBEDDING_CANARY = Job(Embed((Tokens((0,)),)), max_tokens=1)

_POISON_TEXT = "this request crashed the engine when it ran alone; it is not tried again"


@attrs.define(eq=False)
class Answers:
    """All granted tickets of one model that have not ended."""

    _model: str
    _admission: AdmissionHandle
    _runs: Runs[Ticket] = attrs.field(init=False, factory=Runs[Ticket])
    _poison: Poison = attrs.field(init=False, factory=Poison)
    _canary: bool = attrs.field(init=False, default=False)  # one is in the engine
    _active_at: float = attrs.field(init=False, default=0.0)  # the last token, Trio seconds

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        """All that have not ended."""
        return self._runs.tickets

    @property
    def in_engine(self) -> int:
        """How many the engine works on."""
        return self._runs.in_engine

    @property
    def waiting(self) -> int:
        """How many wait for an engine that works."""
        return self._runs.waiting

    def enter(self, ticket: Ticket) -> bool:
        """Take a granted ticket. False: it crashes engines, so it has ended already."""
        self._runs.enter(ticket)
        if self._poison.has(_fingerprint(ticket), trio.current_time()):
            self.end(ticket, RequestCrashesEngine(_POISON_TEXT))
            return False
        return True

    def give(self, engine: EngineProcess, kind: Kind, capacity: Capacity) -> None:
        """Hand to *engine*, which works, what may begin."""
        if self._canary:
            return
        if self._runs.waiting and trio.current_time() - self._active_at > IDLE_UNTRUSTED_S:
            # A device may be lost in a long rest, and a hang must not cost a client its request.
            self._canary = True
            canary = EMBEDDING_CANARY if kind is Kind.EMBEDDING else CANARY
            engine.begin(CANARY_RID, canary, TokenStream(whole=True))
            return
        for start in self._runs.starts():
            ticket = start.ticket
            job = attrs.evolve(ticket.job, context_tokens=_room(ticket.job, capacity))
            engine.begin(start.rid, job, ticket.stream, announce=start.suspect)

    def cancel(self, ticket: Ticket, engine: EngineProcess | None) -> None:
        """Nobody reads *ticket* any more: it ends when the engine has let go of it."""
        rid = self._runs.rid_of(ticket)
        if rid is not None and engine is not None:
            engine.cancel(rid)  # `StreamEnded` follows
        else:
            self.end(ticket, None)

    def end(self, ticket: Ticket, error: LatticeError | None) -> None:
        """Say the last word on *ticket*, to its reader and to admission; only once."""
        if error is not None:
            ticket.stream.fail(error)
        if self._runs.end(ticket):
            self._admission.ended(ticket)

    def end_all(self, error: Callable[[], LatticeError]) -> None:
        """End every ticket with an error of its own."""
        for ticket in self._runs.tickets:
            self.end(ticket, error())  # a fresh one for each: tracebacks are mutable

    # --- the engine's news ------------------------------------------------------------------

    def engine_ready(self) -> None:
        """It has decoded for its warm-up: it is trusted."""
        self._active_at = trio.current_time()

    def first_token(self, rid: int) -> None:
        """A suspect has its first token: others may join it."""
        self._runs.first_token(rid)

    def stream_ended(self, rid: int) -> None:
        """The engine has let go of *rid*, which may be the canary's."""
        self._active_at = trio.current_time()
        if rid == CANARY_RID:
            self._canary = False
        elif (ticket := self._runs.ticket_of(rid)) is not None:
            self.end(ticket, None)

    def engine_gone(self) -> None:
        """Its canary went with it. What becomes of the tickets is the caller's to say."""
        self._canary = False

    def crashed(self, reason: str) -> None:
        """The engine died by itself: end those that cannot begin again."""
        for ticket, loss in self._runs.crashed(lambda ticket: ticket.stream.rewind()):
            if loss is Loss.POISON:
                self._poison.remember(_fingerprint(ticket), trio.current_time())
                self.end(ticket, RequestCrashesEngine(_POISON_TEXT))
            else:
                self.end(ticket, ModelCrashed(f"{self._model} crashed: {reason}"))


def _room(job: Job, capacity: Capacity) -> int | None:
    """How long prompt and answer may be: what was asked, and what the memory allows."""
    room = min(job.context_tokens or math.inf, capacity.longest_tokens)
    return None if math.isinf(room) else int(room)


def _fingerprint(ticket: Ticket) -> bytes:
    return sha256(repr(ticket.job).encode(errors="replace")).digest()
