"""The order of life: what is started first, what leans on what, and what stops first.

    lattice
    |- metrics      what happened, and what is shown of it
    |- catalog      what exists
    |- cloud        Anthropic; only where it is set up
    |- upstreams    one actor for each other server
    |- models       one actor for each model that is or was resident
    |- evictor      which models are in memory
    `- admission    who may run

Stopped in reverse, so that nothing outlives what it tells. The HTTP server runs inside of
`open_lattice` and stops before all of them.
"""

from __future__ import annotations

import itertools
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

from .admission.admission import AdmissionActor
from .admission.forecast import Forecast
from .admission.handle import AdmissionHandle
from .admission.messages import Message as AdmissionMessage
from .admission.messages import ModelOutlook
from .admission.queue import AdmissionQueue
from .admission.ticket import Ticket
from .admission.verdicts import Limits, QueueView
from .capability.profiles import Profiles
from .capability.question import Ask, NoRoute, Route, Rules
from .capability.resolver import resolve
from .catalog import handle as catalog_handle
from .catalog.catalog import CatalogActor, CatalogMemory
from .catalog.entry import ModelEntry, Snapshot
from .catalog.handle import CatalogHandle
from .catalog.world import Runtime, World
from .mailbox import Mailbox
from .metrics import metrics_handle as metrics_messages
from .metrics import others as others_view
from .metrics.metrics import MetricsActor, MetricsMemory
from .metrics.metrics_handle import MetricsHandle, Shown
from .metrics.patches import Document
from .metrics.picture import Preferences, Sources
from .metrics.ring import Ring
from .remote import resolving, upstream_handle
from .remote.cloud import CloudPeer
from .remote.cloud_plan import CloudPlan
from .remote.directory import AllBackends, AllResidents, UpstreamDirectory
from .remote.health import RetryBudget
from .remote.ledger import Ledger
from .remote.peer import OpenAiPeer, Peer
from .remote.plan import UpstreamPlan
from .remote.spend import Spend
from .remote.spend_book import SpendBook
from .remote.upstream import UpstreamActor
from .residency import evictor_handle, model_handle
from .residency.directory import ModelDirectory
from .residency.engine_plan import EnginePlan
from .residency.evictor import EvictorActor
from .residency.evictor_handle import EvictorHandle, EvictorView
from .residency.lru import Residency
from .residency.model import ModelActor
from .residency.room import Room
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
    upstreams: tuple[UpstreamPlan, ...] = ()
    cloud: CloudPlan | None = None


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
    upstreams: UpstreamDirectory
    cloud: CloudPlan | None  # None: nothing goes there
    spend: SpendBook  # there
    metrics: MetricsHandle
    _supervisor: Supervisor
    _turns: Iterator[int] = attrs.field(init=False, factory=itertools.count)

    async def route(
        self, ask: Ask, conversation: str | None = None
    ) -> tuple[Route | NoRoute, World]:
        """Say which model answers *ask*, and why.

        *conversation* is `ConversationKeys.look_up` of the request: its model is preferred.
        """
        world = await self.catalog.world(conversation)
        outlook = await self.admission.outlook()
        candidates = world.candidates(
            lambda entry: _FAILED if entry.id in ask.avoid else _runtime(outlook.get(entry.id))
        )
        ask = attrs.evolve(ask, sticky=world.sticky, turn=next(self._turns))
        return resolve(ask, candidates, world.rules), world

    def actors(self) -> tuple[ActorView, ...]:
        """The actor tree, for people."""
        return self._supervisor.views()


@attrs.define(eq=False)
class _InUse:
    """The policies that the newest incarnations decide by, to be looked at by metrics."""

    queue: AdmissionQueue[Ticket] | None = None
    residency: Residency | None = None

    def queue_view(self) -> QueueView[Ticket] | None:
        return self.queue.view(trio.current_time()) if self.queue is not None else None

    def residents(self) -> EvictorView | None:
        return EvictorView.of(self.residency.room) if self.residency is not None else None


@asynccontextmanager
async def open_lattice(
    inventory: Inventory,
    budget: Budget,
    limits: Limits,
    engines: EnginePlan,
    shown: Shown | None = None,
    version: str = "",
) -> AsyncIterator[Lattice]:
    """Run all actors around the body; on leaving, every engine process has been reaped."""
    # What outlives an incarnation of its actor stands here.
    memory, forecast, pins = CatalogMemory(), Forecast(), set(budget.pinned)
    cloud, spend = inventory.cloud, SpendBook(Spend())
    servers = [plan.name for plan in inventory.upstreams]
    if cloud is not None:
        counter = Spend(cloud.prices, cloud.cap_micros, name=secrets.token_hex(6))
        spend = SpendBook(counter, cloud.spend_folder)
        servers.append(cloud.server.name)
        memory.remote[cloud.server.name] = cloud.entries()  # known: nobody has to be asked
    catalog_box = Mailbox[catalog_handle.Message]("catalog", MOST_UNREAD)
    evictor_box = Mailbox[evictor_handle.Message]("evictor", MOST_UNREAD)
    admission_box = Mailbox[AdmissionMessage]("admission", MOST_UNREAD)
    evictor, admission = EvictorHandle(evictor_box), AdmissionHandle(admission_box)
    catalog, budget_of_retries, ledger = CatalogHandle(catalog_box), RetryBudget(), Ledger()
    # One for all, and only where it is needed: it reads all certificates, some 50 ms.
    plans = [*inventory.upstreams, *([cloud.server] if cloud is not None else [])]
    secure = any(plan.url.startswith("https:") for plan in plans)
    tls = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if inventory.upstreams:
        resolving.install()
    metrics_box = Mailbox[metrics_messages.Message]("metrics", MOST_UNREAD)
    metrics = MetricsHandle(metrics_box, Ring(), shown or Shown())
    metrics_memory, in_use = MetricsMemory(metrics.shown), _InUse()

    def model(mailbox: Mailbox[model_handle.Message], name: str) -> ModelActor:
        return ModelActor(mailbox, name, engines, admission, evictor, metrics)

    def residency() -> Residency:
        room = Room(budget.memory_bytes, budget.max_models, pins)
        in_use.residency = Residency(room, budget.idle_ttl_s)
        return in_use.residency

    def queue() -> AdmissionQueue[Ticket]:
        in_use.queue = AdmissionQueue(limits, forecast)
        return in_use.queue

    def upstream(mailbox: Mailbox[upstream_handle.Message], plan: UpstreamPlan) -> UpstreamActor:
        peer: Peer = OpenAiPeer(plan, ledger, tls)
        if cloud is not None and plan is cloud.server:
            peer = CloudPeer(cloud, ledger, spend, tls)
        return UpstreamActor(mailbox, plan, admission, catalog, budget_of_retries, peer)

    def shown_cloud() -> Document | None:
        return None if cloud is None else others_view.cloud(cloud, spend.view(time.time()))

    async with open_supervisor("lattice") as root:
        models, others = Supervisor("models"), Supervisor("upstreams")
        directory = ModelDirectory(models, model)
        upstreams = UpstreamDirectory(ledger, others, upstream)
        sources = Sources(
            actors=root.views,
            models=directory.views,
            residents=in_use.residents,
            queue=in_use.queue_view,
            snapshot=lambda: memory.snapshot,
            preferences=lambda: Preferences(memory.runtime_default, memory.presets),
            upstreams=upstreams.views,
            egress=lambda: ledger,
            cloud=shown_cloud,
        )
        root.start(
            metrics_box,
            lambda box: MetricsActor(box, metrics.ring, metrics_memory, sources, version),
        )
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
                upstreams=tuple(servers),
                memory=memory,
            ),
        )
        if cloud is not None:
            upstreams.start(cloud.server, called="cloud", under=root)
        root.start_supervisor(others)
        for plan in inventory.upstreams:
            upstreams.start(plan)
        root.start_supervisor(models)
        root.start(
            evictor_box,
            lambda box: EvictorActor(
                box,
                residency(),
                directory,
                admission,
                lambda: memory.snapshot or Snapshot(),
                engines.prefix_cache_bytes,
            ),
        )
        root.start(
            admission_box,
            lambda box: AdmissionActor(
                box,
                queue(),
                forecast,
                AllBackends(directory, upstreams),
                AllResidents(evictor, upstreams),
            ),
        )
        yield Lattice(
            catalog, admission, evictor, directory, upstreams, cloud, spend, metrics, root
        )


_FAILED = Runtime(unavailable="has just failed this request")


def _runtime(outlook: ModelOutlook | None) -> Runtime:
    if outlook is None:
        return Runtime()
    barred = outlook.barred
    return Runtime(
        resident=outlook.resident,
        idle=outlook.idle,
        predicted_wait_s=outlook.wait_s,
        load=outlook.load,
        unavailable=barred.reason if barred is not None else None,
        retry_after_s=barred.retry_after_s if barred is not None else None,
    )
