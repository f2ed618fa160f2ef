"""How the rest of the program speaks to the evictor: its messages and its handle."""

from __future__ import annotations

from functools import partial

import attrs

from lattice_actors.catalog.entry import Snapshot
from lattice_actors.mailbox import Mailbox, Reply

from .restart import Barred
from .room import Room, Stage


@attrs.frozen
class Inventory:
    """What exists, after a scan."""

    snapshot: Snapshot


@attrs.frozen
class Want:
    """Admission has somebody waiting for a model that is not in memory."""

    model: str


@attrs.frozen
class Unwant:
    """They have gone, and their swap had not begun."""

    model: str


@attrs.frozen
class Drained:
    """Admission has ended the last grant of a model and gives no more."""

    model: str


@attrs.frozen
class Draining:
    """Admission gives no more grants of a model; those that run will be some time."""

    model: str


@attrs.frozen
class Used:
    """The first stream of a model began, or its last one ended."""

    model: str
    busy: bool


@attrs.frozen
class Loaded:
    """A model actor has a working engine of so many bytes (0: not measured)."""

    model: str
    resident_bytes: int


@attrs.frozen
class Gone:
    """A model actor has no engine any more; *barred* says why it failed, if it did."""

    model: str
    barred: Barred | None


@attrs.frozen
class RanOut:
    """An engine died of memory: less may be given away from now on."""

    model: str


@attrs.frozen
class Report:
    """A model actor's answer to a new incarnation: what its memory is in (None: it has none)."""

    model: str
    stage: Stage | None
    resident_bytes: int


@attrs.frozen(eq=False)
class LoadNow:
    """An operator wants a model in memory. Answered when it is ready, or cannot be."""

    model: str
    reply: Reply[None]


@attrs.frozen
class Unloaded:
    """What became of an unload."""

    deferred: bool  # somebody uses it: it goes when they are done
    resident: tuple[str, ...]


@attrs.frozen(eq=False)
class Unload:
    """An operator wants a model out of memory; clears a remembered load failure as well."""

    model: str
    reply: Reply[Unloaded]


@attrs.frozen
class Remind:
    """Admission has lost its memory: tell it again what it was asked to empty."""


@attrs.frozen
class Pardon:
    """Whatever failed may be tried again: an operator looked after it."""


@attrs.frozen
class Pin:
    """Keep a model in memory, or stop doing so."""

    model: str
    pinned: bool


@attrs.frozen
class EvictorView:
    """Who is in memory."""

    resident: tuple[str, ...]  # least recently used first
    draining: frozenset[str]
    pinned: frozenset[str]
    reserved_bytes: int
    budget_bytes: int
    max_models: int
    bytes_of: dict[str, int] = attrs.field(factory=dict[str, int])  # reserved, by model

    @classmethod
    def of(cls, room: Room) -> EvictorView:
        """What *room* has in it now."""
        giving_way = {m for m, r in room.residents.items() if r.stage is Stage.GIVING_WAY}
        return cls(
            room.by_last_use,
            frozenset(giving_way),
            frozenset(room.pins),
            room.reserved_bytes,
            room.budget_bytes,
            room.max_models,
            room.bytes_of,
        )


@attrs.frozen(eq=False)
class Ask:
    """Who is in memory?"""

    reply: Reply[EvictorView]


@attrs.frozen(eq=False)
class Plan:
    """What would have to go for this model? Nothing is done."""

    model: str
    reply: Reply[tuple[str, ...] | None]


Message = (
    Inventory
    | Want
    | Unwant
    | Drained
    | Draining
    | Used
    | Loaded
    | Gone
    | RanOut
    | Report
    | LoadNow
    | Unload
    | Remind
    | Pardon
    | Pin
    | Ask
    | Plan
)


@attrs.frozen
class EvictorHandle:
    """What the rest of the program holds of the evictor."""

    _mailbox: Mailbox[Message]

    def inventory(self, snapshot: Snapshot) -> None:
        self._mailbox.tell(Inventory(snapshot))

    def want(self, model: str) -> None:
        self._mailbox.tell(Want(model))

    def unwant(self, model: str) -> None:
        self._mailbox.tell(Unwant(model))

    def drained(self, model: str) -> None:
        self._mailbox.tell(Drained(model))

    def draining(self, model: str) -> None:
        self._mailbox.tell(Draining(model))

    def used(self, model: str, *, busy: bool) -> None:
        self._mailbox.tell(Used(model, busy))

    def loaded(self, model: str, resident_bytes: int) -> None:
        self._mailbox.tell(Loaded(model, resident_bytes))

    def gone(self, model: str, barred: Barred | None) -> None:
        self._mailbox.tell(Gone(model, barred))

    def ran_out(self, model: str) -> None:
        self._mailbox.tell(RanOut(model))

    def report(self, model: str, stage: Stage | None, resident_bytes: int) -> None:
        self._mailbox.tell(Report(model, stage, resident_bytes))

    def remind(self) -> None:
        self._mailbox.tell(Remind())

    def pardon(self) -> None:
        self._mailbox.tell(Pardon())

    def pin(self, model: str, *, pinned: bool) -> None:
        self._mailbox.tell(Pin(model, pinned))

    async def load(self, model: str) -> None:
        """Load *model* and wait until it is ready. Raises LoadFailed, CannotFit, NotFound."""
        await self._mailbox.ask_anew(partial(LoadNow, model))

    async def unload(self, model: str) -> Unloaded:
        """Unload *model*; waits for the reap when nobody uses it. Raises NotFound."""
        return await self._mailbox.ask_anew(partial(Unload, model))

    async def view(self) -> EvictorView:
        """Who is in memory."""
        return await self._mailbox.ask_anew(Ask)

    async def plan(self, model: str) -> tuple[str, ...] | None:
        """What would be evicted for *model*; None when it cannot fit. No side effects."""
        return await self._mailbox.ask_anew(partial(Plan, model))
