"""The order of life: what is started first, what leans on what, and what stops first.

    lattice
    |- catalog      what exists
    |- models       one actor for each model that is or was resident
    |- evictor      which models are in memory
    `- admission    who may run

Stopped in reverse, so that nothing outlives what it tells. The HTTP server runs inside of
`open_lattice` and stops before all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs

from .admission import handle as admission_handle
from .admission.admission import AdmissionActor
from .admission.forecast import Forecast
from .admission.handle import AdmissionHandle, ModelOutlook
from .admission.queue import AdmissionQueue
from .admission.verdicts import Limits
from .capability.profiles import Profiles
from .capability.question import Ask, NoRoute, Route, Rules
from .capability.resolver import resolve
from .catalog import catalog as catalog_actor
from .catalog.catalog import CatalogActor, CatalogHandle, CatalogMemory, Runtime, World
from .catalog.entry import ModelEntry, Snapshot
from .mailbox import Mailbox
from .residency import evictor_handle, model_handle
from .residency.directory import ModelDirectory
from .residency.engine_plan import EnginePlan
from .residency.evictor import EvictorActor
from .residency.evictor_handle import EvictorHandle
from .residency.lru import Residency
from .residency.model import ModelActor
from .supervisor import ActorView, Supervisor, open_supervisor

MOST_UNREAD = 2048  # asks: a burst of clients is refused by the queue's bounds, not by a mailbox


@attrs.frozen
class Inventory:
    """What there is to serve, and by which rules (made from the settings)."""

    scan: Callable[[], Snapshot]  # called in a thread
    rules: Rules
    profiles: Profiles = attrs.field(factory=Profiles)
    builtin: ModelEntry | None = None
    force_builtin: bool = False


@attrs.frozen
class Budget:
    """What may be in memory."""

    memory_bytes: int = 0  # 0: no limit
    max_models: int = 2
    idle_ttl_s: float = 0.0  # 0: idle models stay
    pinned: tuple[str, ...] = ()


@attrs.frozen
class Lattice:
    """The running program, as the HTTP layer holds it."""

    catalog: CatalogHandle
    admission: AdmissionHandle
    evictor: EvictorHandle
    models: ModelDirectory
    _supervisor: Supervisor

    async def route(
        self, ask: Ask, conversation: str | None = None
    ) -> tuple[Route | NoRoute, World]:
        """Say which model answers *ask*, and why.

        *conversation* is `ConversationKeys.look_up` of the request: its model is preferred.
        """
        world = await self.catalog.world(conversation)
        outlook = await self.admission.outlook()
        candidates = world.candidates(lambda entry: _runtime(outlook.get(entry.id)))
        ask = attrs.evolve(ask, sticky=world.sticky)
        return resolve(ask, candidates, world.rules), world

    def actors(self) -> tuple[ActorView, ...]:
        """The actor tree, for people."""
        return self._supervisor.views()


@asynccontextmanager
async def open_lattice(
    inventory: Inventory, budget: Budget, limits: Limits, engines: EnginePlan
) -> AsyncIterator[Lattice]:
    """Run all actors around the body; on leaving, every engine process has been reaped."""
    # What outlives an incarnation of its actor stands here.
    memory, forecast, pins = CatalogMemory(), Forecast(), set(budget.pinned)
    catalog_box = Mailbox[catalog_actor.Message]("catalog", MOST_UNREAD)
    evictor_box = Mailbox[evictor_handle.Message]("evictor", MOST_UNREAD)
    admission_box = Mailbox[admission_handle.Message]("admission", MOST_UNREAD)
    evictor, admission = EvictorHandle(evictor_box), AdmissionHandle(admission_box)

    def model(mailbox: Mailbox[model_handle.Message], name: str) -> ModelActor:
        return ModelActor(mailbox, name, engines, admission, evictor)

    async with open_supervisor("lattice") as root:
        models = Supervisor("models")
        directory = ModelDirectory(models, model)
        root.start(
            catalog_box,
            lambda box: CatalogActor(
                box,
                inventory.scan,
                rules=inventory.rules,
                profiles=inventory.profiles,
                builtin=inventory.builtin,
                force_builtin=inventory.force_builtin,
                on_change=evictor.inventory,
                memory=memory,
            ),
        )
        root.start_supervisor(models)
        root.start(
            evictor_box,
            lambda box: EvictorActor(
                box,
                Residency(budget.memory_bytes, budget.max_models, budget.idle_ttl_s, pins),
                directory,
                admission,
                lambda: memory.snapshot or Snapshot(),
                engines.prefix_cache_bytes,
            ),
        )
        root.start(
            admission_box,
            lambda box: AdmissionActor(
                box, AdmissionQueue(limits, forecast), forecast, directory, evictor
            ),
        )
        yield Lattice(CatalogHandle(catalog_box), admission, evictor, directory, root)


def _runtime(outlook: ModelOutlook | None) -> Runtime:
    if outlook is None:
        return Runtime()
    barred = outlook.barred
    return Runtime(
        resident=outlook.resident,
        idle=outlook.idle,
        predicted_wait_s=outlook.wait_s,
        unavailable=barred.reason if barred is not None else None,
        retry_after_s=barred.retry_after_s if barred is not None else None,
    )
