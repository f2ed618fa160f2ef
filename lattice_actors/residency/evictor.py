"""The evictor: which models are in memory. Carries out what `lru.py` decides.

It never takes a model from a request: it asks admission to empty the victim, and only when
admission says that the last grant has ended does it stop the engine; only when the process has
been reaped does it count the bytes as free and begin the next load.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, assert_never

import attrs
import structlog
import trio

from lattice_actors.admission.handle import AdmissionHandle
from lattice_actors.catalog.entry import ModelEntry, Snapshot
from lattice_actors.errors import CannotFit, LatticeError, LoadFailed, NotFound
from lattice_actors.mailbox import Mailbox, Reply

from . import verdicts
from .evictor_handle import (
    Ask,
    Drained,
    Draining,
    EvictorView,
    Gone,
    Inventory,
    Loaded,
    LoadNow,
    Message,
    Pardon,
    Pin,
    Plan,
    RanOut,
    Remind,
    Report,
    Unload,
    Unloaded,
    Unwant,
    Used,
    Want,
)
from .lru import Residency
from .model_handle import ModelHandle
from .needs import kv_bytes, needed_bytes
from .restart import Barred
from .room import Stage

log = structlog.get_logger(__name__)


class Models(Protocol):
    """The model actors, by name; asking for one that was never resident creates it."""

    def of(self, model: str) -> ModelHandle:
        """Return the handle of *model*."""

    def all(self) -> tuple[ModelHandle, ...]:
        """Return the handles of every model that is or was resident."""


@attrs.define(eq=False)
class EvictorActor:
    """One incarnation. A new one learns what is resident from the model actors."""

    _mailbox: Mailbox[Message]
    _policy: Residency
    _models: Models
    _admission: AdmissionHandle
    _snapshot: Callable[[], Snapshot]  # what was last known to exist, for a new incarnation
    _prefix_cache_bytes: int = 0  # each engine may keep so much of prompts and answers
    _entries: dict[str, ModelEntry] = attrs.field(init=False, factory=dict[str, ModelEntry])
    _loads: dict[str, list[Reply[None]]] = attrs.field(
        init=False, factory=dict[str, list[Reply[None]]]
    )
    _unloads: dict[str, list[Reply[Unloaded]]] = attrs.field(
        init=False, factory=dict[str, list[Reply[Unloaded]]]
    )

    _misfits: set[str] = attrs.field(init=False, factory=set[str])  # refused for want of room

    async def run(self) -> None:
        """Serve until cancelled."""
        self._entries = {entry.id: entry for entry in self._snapshot().models}
        for message in await self._recall():
            self._carry_out(self._on(message, trio.current_time()))
        while True:
            received = await self._mailbox.receive(self._policy.next_deadline)
            now = trio.current_time()
            self._carry_out(self._policy.expire(now))
            if received is not None:
                self._carry_out(self._on(received, now))
            self._answer_loads()

    async def _recall(self) -> list[Message]:
        """Take up what an earlier incarnation left, from those who own the truth.

        Until every model actor has reported nothing is decided: memory that is not counted yet
        would be given away twice. Returns what came in the meantime.
        """
        missing = {handle.model for handle in self._models.all()}
        for handle in self._models.all():
            handle.report()
        early: list[Message] = []
        while missing:
            message = await self._mailbox.receive()
            if isinstance(message, Report):
                missing.discard(message.model)
                if message.stage is not None:
                    self._policy.adopt(
                        message.model,
                        max(self._needs(message.model), message.resident_bytes),
                        message.stage,
                        trio.current_time(),
                    )
            elif message is not None:
                early.append(message)
        if early or self._policy.room.by_last_use:
            self._admission.remind()
        return early

    def _on(self, message: Message, now: float) -> list[verdicts.Action]:
        match message:
            case Inventory(snapshot):
                self._on_inventory(snapshot)
                return []
            case Want(model):
                return self._on_want(model, now)
            case Unwant(model):
                return [] if model in self._loads else self._policy.unwant(model, now)
            case Drained(model):
                return self._policy.drained(model, now)
            case Draining(model):
                for unload in self._unloads.pop(model, []):
                    unload.send(Unloaded(deferred=True, resident=self._policy.room.by_last_use))
                return []
            case Used(model, busy):
                return self._policy.used(model, busy=busy, now=now)
            case Loaded(model, resident_bytes):
                return self._on_loaded(model, resident_bytes, now)
            case Gone(model, barred):
                return self._on_gone(model, barred, now)
            case RanOut(model):
                self._policy.room.shrink()
                budget = self._policy.room.budget_bytes
                log.warning("memory ran out", model=model, budget_bytes=budget)
                return []
            case Report():
                return []  # of an incarnation before this one
            case LoadNow(model, reply):
                return self._on_load_now(model, reply, now)
            case Unload(model, reply):
                return self._on_unload(model, reply, now)
            case Remind():
                return self._policy.remind()
            case Pardon():
                for handle in self._models.all():
                    self._pardon(handle.model)
                return []
            case Pin(model, pinned):
                if not pinned:
                    self._pardon_misfits()
                return self._policy.pin(model, pinned=pinned, now=now)
            case Ask(reply):
                reply.send(EvictorView.of(self._policy.room))
                return []
            case Plan(model, reply):
                plan = self._policy.plan(model, self._needs(model))
                reply.send(None if isinstance(plan, verdicts.CannotFit) else plan)
                return []
            case _:
                assert_never(message)

    def _on_inventory(self, snapshot: Snapshot) -> None:
        fresh = {entry.id: entry for entry in snapshot.models}
        for model, entry in fresh.items():
            if self._entries.get(model) != entry:
                self._pardon(model)  # its files are new, or changed
        self._entries = fresh

    def _pardon_misfits(self) -> None:
        """Room has come back, or a pin is gone: what found no room may find it now."""
        for model in self._misfits:
            self._admission.pardoned(model)
        self._misfits.clear()

    def _pardon(self, model: str) -> None:
        for handle in self._models.all():
            if handle.model == model:
                handle.pardon()
        self._admission.pardoned(model)

    def _on_want(self, model: str, now: float) -> list[verdicts.Action]:
        if model not in self._entries:
            barred = Barred("model_not_found", f"{model} does not exist any more", None)
            self._admission.failed(model, barred)
            return []
        return self._policy.want(model, self._needs(model), now)

    def _on_loaded(self, model: str, resident_bytes: int, now: float) -> list[verdicts.Action]:
        caches = self._kv_bytes(model) + self._prefix_cache_bytes
        actual = resident_bytes + caches if resident_bytes else 0
        actions = self._policy.loaded(model, actual, now)
        for load in self._loads.pop(model, []):
            load.send(None)  # now: the next want may make it give way at once
        return actions

    def _on_gone(self, model: str, barred: Barred | None, now: float) -> list[verdicts.Action]:
        self._pardon_misfits()
        actions = self._policy.gone(model, now)
        if barred is not None:
            failed = partial(LoadFailed, barred.reason, retry_after_s=barred.retry_after_s)
            self._fail_loads(model, failed)
        elif model not in self._entries:
            self._fail_loads(model, partial(_no_such_model, model))
        elif model in self._loads:  # asked for while it went, or its actor crashed over the load
            actions += self._policy.want(model, self._needs(model), now)
        for unload in self._unloads.pop(model, []):
            unload.send(Unloaded(deferred=False, resident=self._policy.room.by_last_use))
        return actions

    def _on_load_now(self, model: str, reply: Reply[None], now: float) -> list[verdicts.Action]:
        if model not in self._entries:
            reply.fail(_no_such_model(model))
            return []
        if self._policy.stage(model) is Stage.READY:
            reply.send(None)
            return []
        self._loads.setdefault(model, []).append(reply)
        return self._policy.want(model, self._needs(model), now)

    def _answer_loads(self) -> None:
        """Tell operators whose model is there because its eviction was called off."""
        ready = [m for m in self._loads if self._policy.stage(m) is Stage.READY]
        for model in ready:
            for load in self._loads.pop(model):
                load.send(None)

    def _on_unload(self, model: str, reply: Reply[Unloaded], now: float) -> list[verdicts.Action]:
        self._pardon(model)
        if self._policy.stage(model) is None:
            reply.fail(NotFound(f"{model} is not loaded", code="model_not_loaded"))
            return []
        self._fail_loads(model, partial(LoadFailed, f"{model} was unloaded before it was ready"))
        self._unloads.setdefault(model, []).append(reply)
        return self._policy.unload(model, now)

    def _carry_out(self, actions: list[verdicts.Action]) -> None:
        for action in actions:
            log.info("residency", action=str(action))
            match action:
                case verdicts.Load(model):
                    entry = self._entries.get(model)
                    if entry is None:
                        self._mailbox.tell(Gone(model, None))
                    else:
                        self._admission.loading(model)
                        self._models.of(model).load(entry, self._kv_bytes(model))
                case verdicts.MakeRoom(model, victims):
                    if model in self._loads:
                        for victim in victims:  # an operator's load does not wait for its turn
                            self._admission.drain(victim)
                    else:
                        self._admission.make_room(model, victims)
                case verdicts.Drain(model):
                    self._admission.drain(model)
                case verdicts.Stop(model, why):
                    self._models.of(model).stop(why)
                case verdicts.CannotFit(model, message):
                    self._misfits.add(model)
                    barred = Barred("model_does_not_fit", message, None)
                    self._admission.failed(model, barred)
                    self._fail_loads(model, partial(CannotFit, message))
                case _:
                    assert_never(action)

    def _fail_loads(self, model: str, error: Callable[[], LatticeError]) -> None:
        for load in self._loads.pop(model, []):
            load.fail(error())  # a fresh one for each: tracebacks are mutable

    def _needs(self, model: str) -> int:
        entry = self._entries.get(model)
        if entry is None:  # it does not exist any more, though its engine may still run
            return self._prefix_cache_bytes
        return needed_bytes(entry, self._policy.room.budget_bytes, self._prefix_cache_bytes)

    def _kv_bytes(self, model: str) -> int:
        """Memory kept for the batch of *model*; 0 when its size per token is not known."""
        entry = self._entries.get(model)
        return kv_bytes(entry, self._policy.room.budget_bytes) if entry is not None else 0


def _no_such_model(model: str) -> NotFound:
    return NotFound(f"there is no model {model!r}", code="model_not_found")
