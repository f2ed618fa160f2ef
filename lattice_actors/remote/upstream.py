"""The actor of one upstream: what it has, whether it can be trusted, and the answers it works on.

Admission is the only scheduler, as for models of this machine. This actor says which models are
ready and how many answers fit; each granted ticket is a child task. A server that fails too often
is taken out for a time (`health.py`): nothing new is granted, what runs there goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

import attrs
import structlog
import trio

from lattice_actors.admission.handle import AdmissionHandle
from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Capacity
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.catalog.handle import CatalogHandle
from lattice_actors.errors import UpstreamFailed
from lattice_actors.mailbox import Mailbox

from . import listing
from .answer import Answer
from .faults import Blame, Fault
from .health import Health, Limit, RetryBudget, State
from .peer import Peer
from .plan import UpstreamPlan
from .probing import Probed
from .upstream_handle import (
    AnswerEnded,
    Begin,
    Cancel,
    Census,
    Looked,
    Message,
    Refresh,
    Tried,
    UpstreamView,
    Want,
)

LOOK_AT_MOST_EVERY_S = 1.0  # however many requests give a reason to

log = structlog.get_logger(__name__)


@attrs.frozen
class Unoffered:
    """Why a model of an upstream cannot be had (`admission.handle.Barring`)."""

    code: str
    reason: str
    retry_after_s: float | None


@attrs.define(eq=False)
class UpstreamActor:
    """One incarnation. If it crashes, its answers end; the next one asks the server anew."""

    _mailbox: Mailbox[Message]
    _plan: UpstreamPlan
    _admission: AdmissionHandle
    _catalog: CatalogHandle
    _budget: RetryBudget
    _peer: Peer
    _health: Health = attrs.field(init=False)
    _limit: Limit = attrs.field(init=False)
    _kind: str = attrs.field(init=False)
    _entries: dict[str, ModelEntry] = attrs.field(init=False, factory=dict[str, ModelEntry])
    _loaded: Mapping[str, int | None] | None = attrs.field(init=False, default=None)
    _running: dict[Ticket, trio.CancelScope] = attrs.field(
        init=False, factory=dict[Ticket, trio.CancelScope]
    )
    _early: set[str] = attrs.field(init=False, factory=set[str])  # wanted before the first look
    _looked: bool = attrs.field(init=False, default=False)
    _looking: bool = attrs.field(init=False, default=False)
    _looked_at: float = attrs.field(init=False, default=-math.inf)
    _look_at: float = attrs.field(init=False, default=-math.inf)
    _answered: int = attrs.field(init=False, default=0)
    _failed: int = attrs.field(init=False, default=0)
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        plan = self._plan
        self._health = Health(plan.eject_after, plan.eject_s)
        self._limit = Limit(plan.concurrency)
        self._kind = plan.kind

    async def run(self) -> None:
        """Serve until cancelled; then every connection has been closed."""
        try:
            async with self._peer, trio.open_nursery() as self._nursery:
                self._look()
                while True:
                    message = await self._mailbox.receive(self._look_at)
                    now = trio.current_time()
                    if message is not None:
                        self._on(message, now)
                    if now >= self._look_at:
                        self._look()
        finally:
            for ticket in list(self._running):
                ticket.stream.fail(UpstreamFailed(f"upstream {self._plan.name} is going away"))
                self._end(ticket)
            for model in self._entries:
                self._admission.gone(model)

    def view(self) -> UpstreamView:
        """What people are shown."""
        health, now = self._health, trio.current_time()
        down = health.state is State.DOWN
        loaded = self._loaded
        return UpstreamView(
            name=self._plan.name,
            url=self._plan.url,
            kind=self._kind,
            state=health.state,
            reason=health.reason if down else None,
            retry_in_s=max(0.0, health.until - now) if down else None,
            models=tuple(self._entries.values()),
            running=len(self._running),
            limit=self._slots,
            failures=health.failures,
            ejections=health.ejections,
            answered=self._answered,
            failed=self._failed,
            loaded=None if loaded is None else tuple(loaded),
        )

    def _on(self, message: Message, now: float) -> None:
        match message:
            case Begin(ticket):
                self._on_begin(ticket)
            case Cancel(ticket):
                scope = self._running.get(ticket)
                if scope is not None:
                    scope.cancel(reason="nobody reads the answer")
            case AnswerEnded(ticket):
                self._end(ticket)
            case Tried(fault):
                self._on_tried(fault, now)
            case Looked(probed):
                self._on_looked(probed, now)
            case Want(model):
                if self._looked:
                    self._say(model, now)
                else:
                    self._early.add(model)
            case Census(model):
                running = tuple(ticket for ticket in self._running if ticket.model == model)
                entry = self._entries.get(model)
                serves = entry is not None and self._health.state is not State.DOWN
                capacity = self._capacity(entry) if entry is not None and serves else None
                self._admission.census(model, capacity, running)
            case Refresh():
                self._look_soon(now)
            case _:
                assert_never(message)

    # --- answers ------------------------------------------------------------------------------

    def _on_begin(self, ticket: Ticket) -> None:
        scope = self._running[ticket] = trio.CancelScope()
        self._nursery.start_soon(self._answer, ticket, scope)

    async def _answer(self, ticket: Ticket, scope: trio.CancelScope) -> None:
        def ended() -> None:
            self._mailbox.tell(AnswerEnded(ticket))

        def tried(fault: Fault | None) -> None:
            self._mailbox.tell(Tried(fault))

        answer = Answer(ticket, self._plan, self._kind, self._peer, self._budget, tried, ended)
        try:
            with scope:
                await answer.run()
        finally:
            ended()

    def _end(self, ticket: Ticket) -> None:
        if self._running.pop(ticket, None) is not None:
            self._admission.ended(ticket)

    def _on_tried(self, fault: Fault | None, now: float) -> None:
        health, changed = self._health, False
        if fault is None:
            self._answered += 1
            changed = self._limit.succeeded()
        else:
            self._failed += 1
            log.info("upstream", name=self._plan.name, fault=fault.code, said=fault.message)
        match fault.blame if fault is not None else Blame.CALLER:
            case Blame.CALLER | Blame.UNABLE:  # an answer, or a refusal that was right: it works
                changed |= health.succeeded(now)
            case Blame.BUSY:
                changed |= self._limit.overloaded(len(self._running))
            case Blame.SERVER | Blame.SETTINGS:
                assert fault is not None
                changed |= health.failed(fault.message, now)
                self._look_soon(now)  # it may be gone, or a model of it
        if health.state is State.DOWN:
            self._look_at = max(self._look_at, health.until) if self._looking else health.until
        if changed:
            self._say_all(now)

    # --- what it has --------------------------------------------------------------------------

    def _look(self) -> None:
        if self._kind == "alone" and self._running:  # it would interrupt the answer
            self._look_at = trio.current_time() + LOOK_AT_MOST_EVERY_S
        elif not self._looking:
            self._looking, self._look_at = True, math.inf
            self._nursery.start_soon(self._run_look)

    async def _run_look(self) -> None:
        self._mailbox.tell(Looked(await self._peer.list_models()))

    def _look_soon(self, now: float) -> None:
        if not self._looking:
            self._look_at = min(self._look_at, max(now, self._looked_at + LOOK_AT_MOST_EVERY_S))

    def _on_looked(self, probed: Probed, now: float) -> None:
        health, before = self._health, self._entries
        first, self._looked, self._looking, self._looked_at = not self._looked, True, False, now
        self._loaded = probed.loaded
        if probed.listing is not None:
            changed = health.reached(now)
            if self._plan.kind == "auto":
                self._kind = probed.listing.kind
            self._take(probed.listing)
        else:
            assert probed.fault is not None
            if first:
                self._take(listing.unlisted(self._plan))
            # A server that is slow to list its models may be busy; one that is not there is not.
            if first or probed.unreached or health.state is State.DOWN:
                changed = health.unreached(probed.fault.message, now)
            else:
                changed = health.failed(probed.fault.message, now)
        down = health.state is State.DOWN
        self._look_at = health.until if down else now + self._plan.refresh_s
        if changed:
            log.info("upstream", name=self._plan.name, now=health.state.value, why=health.reason)
        if first or self._entries != before:
            self._catalog.offered(self._plan.name, tuple(self._entries.values()))
        for model in (before.keys() | self._early) - self._entries.keys():
            self._say(model, now)
        self._early.clear()
        if first or changed or down or self._entries != before:
            self._say_all(now)

    def _take(self, found: listing.Listing) -> None:
        entries = self._peer.entries(found, self._loaded)
        self._entries = {entry.id: entry for entry in entries}

    # --- what admission is told ---------------------------------------------------------------

    def _say_all(self, now: float) -> None:
        for model in self._entries:
            self._say(model, now)

    def _say(self, model: str, now: float) -> None:
        entry, health = self._entries.get(model), self._health
        if entry is None:
            text = f"upstream {self._plan.name} does not offer {model}"
            barred = Unoffered("model_not_found", text, None)
            self._admission.failed(model, barred, streams_run=True)
        elif health.state is State.DOWN:
            # With the time of the next look: before its end nobody can say that it is better.
            after_s = max(1.0, health.until - now) + self._plan.probe_timeout_s
            barred = Unoffered("upstream_unavailable", health.reason, after_s)
            self._admission.failed(model, barred, streams_run=True)
        else:
            self._admission.ready(model, self._capacity(entry), None)

    def _capacity(self, entry: ModelEntry) -> Capacity:
        return Capacity(
            slots=self._plan.model_concurrency,
            kv_bytes_per_token=0,
            kv_budget_bytes=0,
            context_tokens=entry.context_tokens,
            group=self._plan.name,
            group_slots=self._slots,
            weight=self._plan.weight,
        )

    @property
    def _slots(self) -> int:
        alone = self._health.state is State.TRIAL or self._kind == "alone"
        return 1 if alone else self._limit.current
