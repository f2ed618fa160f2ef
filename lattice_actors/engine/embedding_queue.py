"""Which texts are embedded together in the next step. Pure.

A step is a rectangle: as long as its longest text, so texts of like length go together. Its
area is bounded, so that no step holds up a cancel or a small request for long. The requests lead
in turns: one with thousands of texts delays one with a single text by a step, not by thousands.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import attrs

LIKE = 2  # a text goes along with one of up to so many times its length: half is padding at most


@attrs.frozen
class Place:
    """One text: the number of its request, and of itself in the request."""

    rid: int
    index: int


@attrs.define(eq=False)
class EmbeddingQueue:
    """The texts of all requests that still wait for their step."""

    step_tokens: int  # most of one step, padding included; one text alone may be longer
    _waiting: dict[int, list[tuple[int, int]]] = attrs.field(init=False, factory=dict)
    _led: int | None = attrs.field(init=False, default=None)  # the last step; it leads again last

    def add(self, rid: int, lengths: Sequence[int]) -> None:
        """A request has come, with texts of so many tokens each."""
        if lengths:
            self._waiting[rid] = sorted((length, index) for index, length in enumerate(lengths))
            self._to_the_end(self._led)

    def drop(self, rid: int) -> None:
        """Nobody wants the rest of a request."""
        self._waiting.pop(rid, None)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def next_step(self) -> list[Place]:
        """Take out the texts of the next step, the longest first; none if nothing waits."""
        if not self._waiting:
            return []
        leader = next(iter(self._waiting))
        longest, index = self._waiting[leader].pop()
        step = [Place(leader, index)]
        room = self.step_tokens // longest - 1 if longest else 0
        for rid, texts in self._waiting.items():
            while room > 0 and (at := bisect_right(texts, longest, key=_length)):
                length, index = texts[at - 1]
                if length * LIKE < longest:
                    break
                del texts[at - 1]
                step.append(Place(rid, index))
                room -= 1
        self._led = leader
        self._to_the_end(leader)
        self._waiting = {rid: texts for rid, texts in self._waiting.items() if texts}
        return step

    def _to_the_end(self, rid: int | None) -> None:
        """Let the others lead before this one does again, newcomers too."""
        if rid in self._waiting:
            self._waiting[rid] = self._waiting.pop(rid)

    def __repr__(self) -> str:
        texts = sum(map(len, self._waiting.values()))
        return f"<EmbeddingQueue {texts} texts of {len(self._waiting)} requests>"


def _length(text: tuple[int, int]) -> int:
    return text[0]
