"""What happened in the last second, ten seconds, minute and quarter of an hour. Pure.

Each window is a ring of slots. What comes is counted once, in the open slot of the shortest
window; a slot that is over moves into the open slot of the next longer one. So counting is cheap,
and a window covers its span and whatever of the next slot has gone by.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import attrs

from .histograms import Histogram

TICKS_PER_S = 10
Key: TypeAlias = tuple[str, str, str]  # metric, dimension ("" or "model" ...), value of it


@attrs.frozen
class Span:
    """One window: *slots* slots of *ticks* tenths of a second."""

    name: str
    ticks: int
    slots: int


# Each slot is a whole number of the slots before it.
SPANS = (Span("1s", 1, 10), Span("10s", 10, 10), Span("1m", 50, 12), Span("15m", 600, 15))
SECONDS = 1  # the window whose slots are seconds


@attrs.define
class Tally:
    """Sums and histograms by key."""

    sums: dict[Key, float] = attrs.field(factory=dict[Key, float])
    histograms: dict[Key, Histogram] = attrs.field(factory=dict[Key, Histogram])

    def count(self, key: Key, amount: float = 1) -> None:
        """Add *amount* to a sum."""
        self.sums[key] = self.sums.get(key, 0) + amount

    def record(self, key: Key, value: float, times: int = 1) -> None:
        """Put *value* into a histogram."""
        histogram = self.histograms.get(key)
        if histogram is None:
            histogram = self.histograms[key] = Histogram()
        histogram.record(value, times)

    def add(self, other: Tally) -> None:
        """Count everything that *other* has counted."""
        for key, amount in other.sums.items():
            self.count(key, amount)
        for key, histogram in other.histograms.items():
            mine = self.histograms.get(key)
            if mine is None:
                mine = self.histograms[key] = Histogram()
            mine.add(histogram)

    def __bool__(self) -> bool:
        return bool(self.sums or self.histograms)


@attrs.define
class _Ring:
    span: Span
    open: Tally = attrs.field(init=False, factory=Tally)
    closed: deque[tuple[int, Tally]] = attrs.field(
        init=False, factory=deque["tuple[int, Tally]"]
    )  # with the number of the slot; empty ones are left out
    _sum: Tally | None = attrs.field(init=False, default=None)  # of the closed ones

    def close(self, number: int) -> Tally:
        over, self.open = self.open, Tally()
        if over:
            self.closed.append((number, over))
            self._sum = None
        return over

    def expire(self, number: int) -> None:
        while self.closed and self.closed[0][0] < number - self.span.slots:
            self.closed.popleft()
            self._sum = None

    @property
    def sum(self) -> Tally:
        if self._sum is None:
            self._sum = Tally()
            for _, tally in self.closed:
                self._sum.add(tally)
        return self._sum


@attrs.define(eq=False)
class Windows:
    """All windows. `advance` first, then count into `now`; times are seconds that only rise."""

    began: float
    _tick: int = attrs.field(init=False)
    _rings: tuple[_Ring, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tick = int(self.began * TICKS_PER_S)
        self._rings = tuple(_Ring(span) for span in SPANS)

    def advance(self, now: float) -> tuple[int, Tally] | None:
        """Close the slots that are over. Return the second that was closed, if it had anything."""
        before, tick = self._tick, int(now * TICKS_PER_S)
        if tick <= before:
            return None
        self._tick = tick
        second: tuple[int, Tally] | None = None
        for level, ring in enumerate(self._rings):
            number, slot = before // ring.span.ticks, tick // ring.span.ticks
            if slot == number:
                break  # of the longer windows none is over either
            over = ring.close(number)
            if level + 1 < len(self._rings):
                self._rings[level + 1].open.add(over)
            if level == SECONDS and over:
                second = number, over
        for ring in self._rings:
            ring.expire(tick // ring.span.ticks)
        return second

    @property
    def now(self) -> Tally:
        """The slot to count into."""
        return self._rings[0].open

    def total(self, level: int) -> Tally:
        """Return the sum over the window `SPANS[level]`."""
        total = Tally()
        total.add(self._rings[level].sum)
        for ring in self._rings[: level + 1]:
            total.add(ring.open)
        return total

    def covers_s(self, level: int, now: float) -> float:
        """Return how many seconds `total` is about: never more than have passed."""
        span = self._rings[level].span
        width = span.ticks / TICKS_PER_S
        begun = now // width * width
        return max(min(span.slots * width + now - begun, now - self.began), 1 / TICKS_PER_S)
