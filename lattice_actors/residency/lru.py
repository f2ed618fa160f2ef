"""Which models are in memory, and which give way to one that is wanted. Pure.

News and `now` go in, actions come out. The policy never decides *when* a busy model gives way
(admission does: minimum residence, collation), only *which*: `room.py` says who must go.

A want is served in order of arrival. A later one may go first only when it fits beside what
the first still needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from .room import Resident, Room, Stage
from .verdicts import (
    EVICTED,
    IDLE,
    UNLOADED,
    Action,
    CannotFit,
    Drain,
    Load,
    MakeRoom,
    Stop,
)


@attrs.define(eq=False)
class Residency:
    """The models in memory and those that want to be."""

    room: Room
    idle_ttl_s: float = 0.0  # 0: keep idle models
    _wants: dict[str, int] = attrs.field(init=False, factory=dict[str, int])  # needed bytes
    _asked: dict[str, tuple[str, ...]] = attrs.field(
        init=False, factory=dict[str, tuple[str, ...]]
    )  # MakeRoom given and not yet settled

    # --- news -------------------------------------------------------------------------------

    def want(self, model: str, needs_bytes: int, now: float) -> list[Action]:
        """*model* is wanted in memory and will take *needs_bytes*. Repeating it is fine."""
        resident = self.room.residents.get(model)
        if resident is not None and not resident.yields:
            return []
        self._wants.setdefault(model, needs_bytes)
        if model in self._asked:
            # Wanted again: admission has forgotten that it was asked for room, so say it again.
            return self._ask_again(model)
        return self._serve(now)

    def adopt(self, model: str, needs_bytes: int, stage: Stage, now: float) -> None:
        """*model* is in memory already: an earlier evictor put it there."""
        self.room.residents[model] = Resident(needs_bytes, now, stage)

    def unwant(self, model: str, now: float) -> list[Action]:
        """Nobody waits for *model* any more, and its swap has not begun."""
        self._wants.pop(model, None)
        self._spare(model)
        return self._serve(now)

    def loaded(self, model: str, actual_bytes: int, now: float) -> list[Action]:
        """The load of *model* ended well; it really takes *actual_bytes* (0: as reserved)."""
        resident = self.room.residents.get(model)
        if resident is None:
            return []
        resident.needs_bytes = max(actual_bytes, resident.needs_bytes)
        resident.last_used = now
        if resident.stage is Stage.LOADING:
            resident.stage = Stage.READY
        return self._serve(now)

    def drained(self, model: str, now: float) -> list[Action]:
        """Admission emptied *model*: no grants, and none will come."""
        resident = self.room.residents.get(model)
        if resident is None or resident.stage in (Stage.LOADING, Stage.STOPPING):
            return []  # said twice: it may be on its way back already
        resident.stage = Stage.STOPPING
        return [Stop(model, resident.why), *self._serve(now)]

    def gone(self, model: str, now: float) -> list[Action]:
        """The process of *model* has been reaped, for whatever cause: its bytes are free."""
        self.room.residents.pop(model, None)
        for wanting, victims in list(self._asked.items()):
            if model in victims:
                self._asked[wanting] = tuple(v for v in victims if v != model)
        return self._serve(now)

    def used(self, model: str, *, busy: bool, now: float) -> list[Action]:
        """Admission granted the first stream of *model*, or the last one ended."""
        resident = self.room.residents.get(model)
        if resident is not None:
            resident.busy = busy
            resident.last_used = now
        return []

    def unload(self, model: str, now: float) -> list[Action]:
        """An operator wants *model* out of memory, as soon as nobody uses it."""
        return self._unload(model, now, UNLOADED)

    def _unload(self, model: str, now: float, why: str) -> list[Action]:
        resident = self.room.residents.get(model)
        if resident is None or resident.stage is Stage.STOPPING:
            return []
        self._wants.pop(model, None)
        if resident.stage is Stage.LOADING:
            resident.stage = Stage.STOPPING
            return [Stop(model, why), *self._serve(now)]
        resident.stage, resident.why = Stage.GIVING_WAY, why
        return [Drain(model)]

    def pin(self, model: str, *, pinned: bool, now: float) -> list[Action]:
        """Keep *model* in memory whatever else is wanted, or stop doing so."""
        if pinned:
            self.room.pins.add(model)
        else:
            self.room.pins.discard(model)
        return self._serve(now)

    def expire(self, now: float) -> list[Action]:
        """Drain what has been idle for too long."""
        return [
            action
            for model, resident in list(self.room.residents.items())
            if self._idle_until(model, resident) <= now
            for action in self._unload(model, now, IDLE)
        ]

    def remind(self) -> list[Action]:
        """Admission has lost its memory: ask again for everything it has not yet emptied."""
        swaps = [action for model in self._asked for action in self._ask_again(model)]
        victims = {victim for asked in self._asked.values() for victim in asked}
        unloads = [m for m, r in self.room.residents.items() if r.stage is Stage.GIVING_WAY]
        return [*swaps, *(Drain(model) for model in unloads if model not in victims)]

    # --- what it looks like -----------------------------------------------------------------

    @property
    def next_deadline(self) -> float:
        """When `expire` next has something to do, Trio seconds; never is infinity."""
        return min(
            (self._idle_until(m, r) for m, r in self.room.residents.items()), default=math.inf
        )

    def stage(self, model: str) -> Stage | None:
        """Where *model* is; None: it takes no memory."""
        resident = self.room.residents.get(model)
        return resident.stage if resident is not None else None

    def plan(self, model: str, needs_bytes: int) -> tuple[str, ...] | CannotFit:
        """Say what would have to go for *model*, without doing anything."""
        return self.room.victims(model, needs_bytes)

    def __repr__(self) -> str:
        return (
            f"<Residency {len(self.room.residents)}/{self.room.max_models} models, "
            f"{self.room.reserved_bytes / 1e9:.2f}/{self.room.budget_bytes / 1e9:.2f} GB, "
            f"{len(self._wants)} wanted>"
        )

    # --- decisions --------------------------------------------------------------------------

    def _serve(self, now: float) -> list[Action]:
        """Load what fits, in order; for the first that does not, ask for room once."""
        actions: list[Action] = []
        first = True
        kept_bytes = kept_models = 0  # free room that an earlier want still needs
        for model, needs in list(self._wants.items()):
            if model in self.room.residents:
                continue  # its old process is on the way out
            if self.room.fits(needs + kept_bytes, 1 + kept_models):
                del self._wants[model]
                self._spare(model)  # room may have come from elsewhere
                self.room.residents[model] = Resident(needs, now)
                actions.append(Load(model))
                continue
            if first:
                actions += self._ask_for_room(model, needs)
                if model not in self._wants:
                    continue  # it can never fit: the next one is the first
                first = False
            coming = [
                self.room.residents[victim].needs_bytes for victim in self._asked.get(model, ())
            ]
            kept_bytes += max(0, needs - sum(coming))
            kept_models += 0 if coming else 1
        return actions

    def _spare(self, model: str) -> None:
        """Nobody has to give way for *model* any more. One that admission has emptied goes on."""
        for victim in self._asked.pop(model, ()):
            resident = self.room.residents.get(victim)
            if resident is not None and resident.stage is Stage.GIVING_WAY:
                resident.stage = Stage.READY
                self._wants.pop(victim, None)  # it was wanted back after its turn: it stays

    def _ask_again(self, model: str) -> list[Action]:
        waiting_for = tuple(
            victim
            for victim in self._asked[model]
            if self.room.residents[victim].stage is Stage.GIVING_WAY
        )
        return [MakeRoom(model, waiting_for)] if waiting_for else []

    def _ask_for_room(self, model: str, needs: int) -> Iterator[Action]:
        verdict = self.room.victims(model, needs)
        if isinstance(verdict, CannotFit):
            del self._wants[model]
            yield verdict
            return
        fresh = tuple(v for v in verdict if self.room.residents[v].stage is Stage.READY)
        if not fresh:
            return  # what must go is going already, or still loading: news will come
        for victim in fresh:
            self.room.residents[victim].stage = Stage.GIVING_WAY
            self.room.residents[victim].why = EVICTED
        self._asked[model] = (*self._asked.get(model, ()), *fresh)
        yield from self._ask_again(model)

    def _idle_until(self, model: str, resident: Resident) -> float:
        if not self.idle_ttl_s or resident.busy or model in self.room.pins:
            return math.inf
        return resident.last_used + self.idle_ttl_s if resident.stage is Stage.READY else math.inf
