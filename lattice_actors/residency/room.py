"""The memory that models share: what is in it, whether more fits, and what must go for it. Pure.

Bytes are counted from the reservation before a load until the process has been reaped, so the sum
never lies. Idle models go before busy ones, the least recently used first, and none that could
have stayed.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

import attrs

from .verdicts import EVICTED, CannotFit

SHRINK_BY = 0.10  # of the budget, when an engine died of memory all the same


class Stage(enum.Enum):
    """Where a model's memory is in its life, seen from the evictor."""

    LOADING = "loading"
    READY = "ready"
    GIVING_WAY = "giving way"  # admission was asked to make room; it has not emptied it yet
    STOPPING = "stopping"


@attrs.define
class Resident:
    """One model that takes memory."""

    needs_bytes: int
    last_used: float  # seconds, on the clock of the caller
    stage: Stage = Stage.LOADING
    busy: bool = False
    why: str = EVICTED  # it gives way

    @property
    def yields(self) -> bool:
        """Its memory will come back without anyone deciding it again."""
        return self.stage in (Stage.GIVING_WAY, Stage.STOPPING)


@attrs.define(eq=False)
class Room:
    """What there is of memory, and who is in it."""

    budget_bytes: int  # 0: no limit
    max_models: int
    pins: set[str] = attrs.field(factory=set[str])  # the owner may keep them over restarts
    residents: dict[str, Resident] = attrs.field(init=False, factory=dict[str, Resident])

    @property
    def reserved_bytes(self) -> int:
        """What all that is in it takes, as far as is known."""
        return sum(resident.needs_bytes for resident in self.residents.values())

    @property
    def bytes_of(self) -> dict[str, int]:
        """What is reserved, by model."""
        return {model: resident.needs_bytes for model, resident in self.residents.items()}

    @property
    def by_last_use(self) -> tuple[str, ...]:
        """Models whose memory is in use, least recently used first."""
        return tuple(sorted(self.residents, key=lambda m: self.residents[m].last_used))

    def shrink(self) -> None:
        """An engine ran out of memory: the machine has less than the budget says."""
        kept = self.budget_bytes or self.reserved_bytes
        self.budget_bytes = int(kept * (1 - SHRINK_BY))

    def fits(self, needs_bytes: int, models: int = 1, without: Collection[str] = ()) -> bool:
        """Whether *models* more, of *needs_bytes* together, fit if those *without* were gone."""
        left = [r for m, r in self.residents.items() if m not in without]
        room = sum(r.needs_bytes for r in left) + needs_bytes <= self.budget_bytes
        return (not self.budget_bytes or room) and len(left) + models <= self.max_models

    def victims(self, model: str, needs_bytes: int) -> tuple[str, ...] | CannotFit:
        """Return who must go for *model*, those who are going already before the others."""
        if self.budget_bytes and needs_bytes > self.budget_bytes:
            text = f"{model} needs {_gb(needs_bytes)} and the memory budget is "
            return CannotFit(model, text + _gb(self.budget_bytes))
        going = [m for m, r in self.residents.items() if r.yields and m != model]
        staying = sorted(
            (m for m, r in self.residents.items() if not r.yields and m not in self.pins),
            key=lambda m: (self.residents[m].busy, self.residents[m].last_used),
        )
        chosen: list[str] = []
        if not self.fits(needs_bytes, without=going):
            for candidate in staying:
                chosen.append(candidate)
                if self.fits(needs_bytes, without=[*going, *chosen]):
                    break
            else:
                return CannotFit(model, self._no_room(model, needs_bytes, going + chosen))
        for candidate in list(chosen):
            rest = [c for c in chosen if c != candidate]
            if self.fits(needs_bytes, without=[*going, *rest]):
                chosen = rest  # a later, larger victim made this one needless
        return (*going, *chosen)

    def _no_room(self, model: str, needs_bytes: int, considered: list[str]) -> str:
        kept = sorted(self.pins & self.residents.keys())
        return (
            f"{model} needs {_gb(needs_bytes)} of {_gb(self.budget_bytes)} and one of "
            f"{self.max_models} places; pinned models keep theirs ({', '.join(kept) or 'none'}), "
            f"even without {', '.join(considered) or 'any other'} there is no room"
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
