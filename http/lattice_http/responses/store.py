"""The responses that are kept for a while, each caller's own. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs


@attrs.frozen(eq=False)
class Kept:
    """One response."""

    response: dict[str, Any]  # as it was answered
    input: Sequence[bytes]  # the items it was made of, JSON, those of the responses before it too
    output: Sequence[bytes]  # its own items
    size: int  # bytes of all that
    until: float  # Trio seconds


@attrs.define
class _Shelf:
    kept: OrderedDict[str, Kept] = attrs.field(factory=OrderedDict[str, Kept])
    size: int = 0


@attrs.define
class ResponseStore:
    """Bounded for each caller in number, bytes and time: what was longest unused goes first."""

    most: int  # of one caller; 0: nothing is kept
    most_bytes: int
    for_s: float
    _shelves: dict[str, _Shelf] = attrs.field(init=False, factory=dict[str, _Shelf])

    def put(self, principal: str, response_id: str, kept: Kept, now: float) -> bool:
        """Keep it; False where it is too large to be kept, or nothing is."""
        self._expire(now)
        if self.most == 0 or kept.size > self.most_bytes:
            return False
        shelf = self._shelves.setdefault(principal, _Shelf())
        shelf.kept[response_id] = kept
        shelf.size += kept.size
        while len(shelf.kept) > self.most or shelf.size > self.most_bytes:
            _, dropped = shelf.kept.popitem(last=False)
            shelf.size -= dropped.size
        return True

    def get(self, principal: str, response_id: str, now: float) -> Kept | None:
        """Return what is kept under this id for this caller."""
        shelf = self._shelves.get(principal)
        kept = shelf.kept.get(response_id) if shelf is not None else None
        if shelf is None or kept is None or kept.until <= now:
            return None
        shelf.kept.move_to_end(response_id)
        return kept

    def delete(self, principal: str, response_id: str, now: float) -> bool:
        """Forget it; False where there is none."""
        if self.get(principal, response_id, now) is None:
            return False
        shelf = self._shelves[principal]
        shelf.size -= shelf.kept.pop(response_id).size
        return True

    def _expire(self, now: float) -> None:
        for principal, shelf in list(self._shelves.items()):
            for response_id in [name for name, kept in shelf.kept.items() if kept.until <= now]:
                shelf.size -= shelf.kept.pop(response_id).size
            if not shelf.kept:
                del self._shelves[principal]

    def __repr__(self) -> str:
        kept = sum(len(shelf.kept) for shelf in self._shelves.values())
        return f"<ResponseStore {kept} responses of {len(self._shelves)} callers>"
