"""How long things take, as counts in buckets: small, exact to merge, good for percentiles. Pure.

`Histogram` has sixteen buckets for each power of two (the idea of HdrHistogram), so a percentile
is off by at most one part in sixteen. `Buckets` counts below given bounds, as Prometheus wants it.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import attrs

STEPS = 16  # buckets for each power of two: 6 % of the value
LEAST = 1e-6  # what is shorter or longer counts as this
MOST = 1e6


@attrs.define
class Histogram:
    """Positive values, in whatever unit."""

    counts: dict[int, int] = attrs.field(factory=dict[int, int])  # by number of the bucket
    count: int = 0
    total: float = 0.0

    def record(self, value: float, times: int = 1) -> None:
        """Count *value*; NaN counts as nothing."""
        if math.isnan(value) or times <= 0:
            return
        value = min(max(value, LEAST), MOST)
        number = _number(value)
        self.counts[number] = self.counts.get(number, 0) + times
        self.count += times
        self.total += value * times

    def add(self, other: Histogram) -> None:
        """Count everything that *other* has counted."""
        counts = self.counts
        for number, times in other.counts.items():
            counts[number] = counts.get(number, 0) + times
        self.count += other.count
        self.total += other.total

    def percentiles(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        """Return the values below which these shares lie (rising, each 0 to 1); none: empty."""
        if not self.count:
            return ()
        found: list[float] = []
        below = 0
        numbers = iter(sorted(self.counts))
        number = next(numbers)
        for share in shares:
            rank = max(1, math.ceil(share * self.count))
            while below + self.counts[number] < rank:
                below += self.counts[number]
                number = next(numbers)
            found.append(_middle(number))
        return tuple(found)

    @property
    def mean(self) -> float:
        """NaN: there is nothing."""
        return self.total / self.count if self.count else math.nan


def _number(value: float) -> int:
    mantissa, exponent = math.frexp(value)  # value = mantissa * 2 ** exponent, from 0.5 below 1
    return exponent * STEPS + int((mantissa - 0.5) * 2 * STEPS)


def _middle(number: int) -> float:
    exponent, step = divmod(number, STEPS)
    return math.ldexp(0.5 + (step + 0.5) / (2 * STEPS), exponent)


@attrs.define
class Buckets:
    """Counts of the values at or below each of *bounds* (rising), and of those above all."""

    bounds: tuple[float, ...]
    counts: list[int] = attrs.field()  # one more than bounds; not cumulative
    total: float = 0.0

    @counts.default
    def _none_yet(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def record(self, value: float, times: int = 1) -> None:
        """Count *value*; NaN counts as nothing."""
        if not math.isnan(value):
            self.counts[bisect_left(self.bounds, value)] += times
            self.total += value * times
