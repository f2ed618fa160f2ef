"""The catalog actor: what exists, the server's rules about it, and who answered whom.

A scan runs in a thread and tells its own actor; the mailbox is served meanwhile. Asks that come
before the first scan has ended, or before each other server was asked once, wait for it, so
nobody sees a catalog that is only empty because it is young.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

import attrs
import structlog
import trio

from lattice_actors.capability.preference import Preferences
from lattice_actors.capability.profiles import Profile, Profiles
from lattice_actors.capability.question import Ask, Rules
from lattice_actors.errors import MailboxFull, Unavailable
from lattice_actors.mailbox import Mailbox

from .entry import Kind, ModelEntry, Snapshot
from .handle import Look, Message, Offered, Remember, Rescan, Scanned, SetDefault, SetPresets
from .stickiness import Stickiness
from .world import Runtime, World, difference, merged

log = structlog.get_logger(__name__)


@attrs.define
class CatalogMemory:
    """What must outlive an incarnation; pass the same one to each of them."""

    snapshot: Snapshot | None = None  # of this machine; None: never scanned
    remote: dict[str, tuple[ModelEntry, ...]] = attrs.field(
        factory=dict[str, tuple[ModelEntry, ...]]
    )  # by upstream; one that is missing was not asked yet
    runtime_default: str | None = None
    presets: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, "tuple[str, ...]"])
    stickiness: Stickiness = attrs.field(factory=Stickiness)


@attrs.define(eq=False)
class CatalogActor:
    """One incarnation. *scan* is called in a thread: `discovery.scan` or `single`, with its path.

    *on_change* is called after each scan that worked, changed or not, in the actor's own task:
    it tells other actors and returns. *rules* come without a runtime default.
    """

    _mailbox: Mailbox[Message]
    _scan: Callable[[], Snapshot]
    _rules: Rules = attrs.field(factory=Rules)
    _profiles: Profiles = attrs.field(factory=Profiles)
    _builtin: ModelEntry | None = None
    _force_builtin: bool = False
    _on_change: Callable[[Snapshot], None] = attrs.field(default=lambda snapshot: None)
    _upstreams: tuple[str, ...] = ()  # in the order of their models
    _memory: CatalogMemory = attrs.field(factory=CatalogMemory)
    _all: Snapshot = attrs.field(init=False, factory=Snapshot)  # with the upstreams' models
    _profile_of: dict[str, Profile] = attrs.field(init=False, factory=dict[str, Profile])
    _threads: trio.CapacityLimiter = attrs.field(
        init=False, factory=lambda: trio.CapacityLimiter(1)
    )
    _scanning: bool = attrs.field(init=False, default=False)
    _early: list[Look | SetDefault] = attrs.field(init=False, factory=list["Look | SetDefault"])
    _served: list[Rescan] = attrs.field(init=False, factory=list[Rescan])  # by the running scan
    _next: list[Rescan] = attrs.field(init=False, factory=list[Rescan])  # asked while it ran

    async def run(self) -> None:
        """Serve the mailbox until cancelled."""
        if self._memory.snapshot is not None:
            self._take(self._memory.snapshot)
        async with trio.open_nursery() as scans:  # a scan never outlives its actor
            self._begin_scan(scans)
            while True:
                match message := await self._mailbox.receive():
                    case Look() | SetDefault():
                        self._answer(message)
                    case SetPresets():
                        self._memory.presets = message.presets
                        message.reply.send(message.presets)
                    case Rescan():
                        self._next.append(message)
                        self._begin_scan(scans)
                    case Remember():
                        self._memory.stickiness.remember(
                            message.key, message.model, trio.current_time()
                        )
                    case Offered(upstream, models):
                        self._memory.remote[upstream] = models
                        self._merge()
                        self._answer_early()
                    case Scanned():
                        self._on_scanned(message.result)
                        if self._next:
                            self._begin_scan(scans)
                    case None:
                        pass  # no deadline was set
                    case _:
                        assert_never(message)

    def _answer(self, message: Look | SetDefault) -> None:
        if self._is_young:
            if len(self._early) < self._mailbox.limit:
                self._early.append(message)
            else:
                message.reply.fail(MailboxFull("the models are still being scanned"))
            return
        match message:
            case Look():
                message.reply.send(self._world(message.key))
            case SetDefault():
                model = (message.model or "").strip()
                self._memory.runtime_default = model or None
                message.reply.send(self._meaning(model) if model else None)

    def _world(self, key: str | None) -> World:
        sticky = None
        if key is not None:
            sticky = self._memory.stickiness.look_up(key, trio.current_time())
        rules = attrs.evolve(
            self._rules,
            runtime_default=self._memory.runtime_default,
            presets=self._memory.presets,
        )
        return World(self._all, rules, self._profile_of, sticky)

    def _meaning(self, default: str) -> str | None:
        candidates = self._world(None).candidates(lambda entry: Runtime())
        chats = [one for one in candidates if one.kind is Kind.CHAT]
        preferences = Preferences(Ask(default), chats, self._rules)
        everyone = range(len(chats))
        matches = preferences.order(preferences.spec.entries, everyone, everyone)
        return chats[matches[0].index].id if matches else None

    # --- scanning ------------------------------------------------------------------------------

    def _begin_scan(self, scans: trio.Nursery) -> None:
        # One at a time. A rescan asked for meanwhile gets a scan of its own afterwards: the
        # running one may already be past the folder that was just filled.
        if not self._scanning:
            self._scanning = True
            self._served, self._next = self._next, []
            scans.start_soon(self._run_scan)

    async def _run_scan(self) -> None:
        try:
            # Abandoned on cancel: it only reads, and a dead network folder must not hold us up.
            snapshot = await trio.to_thread.run_sync(
                self._scan, abandon_on_cancel=True, limiter=self._threads
            )
        except Exception as error:  # noqa: BLE001 - an answer to those who asked, not a crash
            self._mailbox.tell(Scanned(error))
        else:
            self._mailbox.tell(Scanned(snapshot))

    def _on_scanned(self, result: Snapshot | Exception) -> None:
        self._scanning = False
        before = self._memory.snapshot
        if isinstance(result, Exception):
            log.error("scan failed", exc_info=result)
            for rescan in self._served:
                rescan.reply.fail(Unavailable(f"the models could not be scanned: {result}"))
            if before is None:
                self._take(self._with_builtin(Snapshot()))
        else:
            after = self._take(self._with_builtin(result))
            for rescan in self._served:
                rescan.reply.send(difference(before or Snapshot(), after))
        self._served = []
        self._answer_early()

    @property
    def _is_young(self) -> bool:
        asked = self._memory.remote
        return self._memory.snapshot is None or any(name not in asked for name in self._upstreams)

    def _answer_early(self) -> None:
        early, self._early = self._early, []
        for message in early:
            self._answer(message)

    def _take(self, snapshot: Snapshot) -> Snapshot:
        self._memory.snapshot = snapshot
        self._merge()
        self._on_change(snapshot)
        return snapshot

    def _merge(self) -> None:
        """Put what this machine and the upstreams have into one inventory."""
        remote = {name: self._memory.remote.get(name, ()) for name in self._upstreams}
        self._all = merged(self._memory.snapshot or Snapshot(), remote)
        self._profile_of = {entry.id: self._profiles.of(entry) for entry in self._all.models}

    def _with_builtin(self, snapshot: Snapshot) -> Snapshot:
        """Offer the built-in model, last, where there is nothing else or it was asked for."""
        if self._builtin is None or snapshot.get(self._builtin.id) is not None:
            return snapshot
        has_chat = any(entry.kind is Kind.CHAT for entry in snapshot.models)
        if has_chat and not self._force_builtin:
            return snapshot
        return attrs.evolve(snapshot, models=(*snapshot.models, self._builtin))
