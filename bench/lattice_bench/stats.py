"""Numbers about numbers: percentiles, spread, and how sure a ratio is. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

import attrs

RESAMPLES = 2000  # the interval's own noise is then well under its width
SEED = 20240  # same samples, same interval


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* (0 to 1) of *values* lie, interpolated; not empty."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@attrs.frozen
class Spread:
    """A sample in five numbers."""

    n: int
    p50: float
    p25: float
    p75: float
    p99: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of *values*, None if there are none."""
    if not values:
        return None
    p25, p50, p75, p99 = (percentile(values, share) for share in (0.25, 0.5, 0.75, 0.99))
    return Spread(len(values), p50, p25, p75, p99, min(values), max(values))


@attrs.frozen
class Ratio:
    """The median of paired ratios, with its bootstrap 95 % interval."""

    pairs: int
    median: float
    low: float
    high: float


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """Compare measurements taken side by side: the median of ours[i] / theirs[i].

    Pairs, because what slows the machine down for a while slows both of a pair. The interval is
    the percentile bootstrap over pairs (Efron and Tibshirani 1993, chapter 13).
    """
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    if not ratios:
        return None
    draw = random.Random(SEED)
    medians = [median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)]
    return Ratio(
        len(ratios), median(ratios), percentile(medians, 0.025), percentile(medians, 0.975)
    )
