"""Numbers about numbers: percentiles, spread, and how sure a ratio is. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from statistics import median

import attrs

RESAMPLES = 2000  # the interval's own noise is then well under its width
TAIL_RESAMPLES = 500  # each sorts all values again
SEED = 20240  # same samples, same interval
Z95 = 1.959964  # the normal distribution, 95 % in the middle


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* (0 to 1) of *values* lie, interpolated; not empty."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@attrs.frozen
class Spread:
    """A sample in seven numbers, and how large it is."""

    n: int
    p50: float
    p25: float
    p75: float
    p95: float
    p99: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of *values*, None if there are none."""
    if not values:
        return None
    shares = (0.5, 0.25, 0.75, 0.95, 0.99)
    ordered = sorted(values)
    p50, p25, p75, p95, p99 = (percentile(ordered, share) for share in shares)
    return Spread(len(values), p50, p25, p75, p95, p99, ordered[0], ordered[-1])


def median_of_known(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


@attrs.frozen
class Ratio:
    """The median of paired ratios (or differences), with its bootstrap 95 % interval."""

    pairs: int
    median: float
    low: float
    high: float


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """Compare measurements taken side by side: the median of ours[i] / theirs[i].

    Pairs, because what slows the machine down for a while slows both of a pair. The interval is
    the percentile bootstrap over pairs (Efron and Tibshirani 1993, chapter 13).
    """
    return _paired([our / their for our, their in zip(ours, theirs, strict=True)])


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """As `paired_ratio`, of ours[i] - theirs[i]."""
    return _paired([our - their for our, their in zip(ours, theirs, strict=True)])


def _paired(values: Sequence[float]) -> Ratio | None:
    if not values:
        return None
    draw = random.Random(SEED)
    medians = [median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    return Ratio(
        len(values), median(values), percentile(medians, 0.025), percentile(medians, 0.975)
    )


def tail_ratio(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], share: float
) -> Ratio | None:
    """Compare a high percentile of measurements taken side by side, round by round.

    A round may hold few values, so its own tail means little: the percentile is that of all
    rounds together. Rounds are drawn for the interval, the same ones on both sides, since the
    values of a round depend on each other.
    """
    rounds = [
        (sorted(our), sorted(their))
        for our, their in zip(ours, theirs, strict=True)
        if our and their
    ]
    if not rounds:
        return None

    def ratio(drawn: Sequence[tuple[list[float], list[float]]]) -> float:
        our = percentile([value for one, _ in drawn for value in one], share)
        their = percentile([value for _, one in drawn for value in one], share)
        return our / their if their else math.inf

    draw = random.Random(SEED)
    ratios = [ratio(draw.choices(rounds, k=len(rounds))) for _ in range(TAIL_RESAMPLES)]
    if not math.isfinite(max(ratios)):
        return None  # nothing was as fast as the clock can tell
    return Ratio(len(rounds), ratio(rounds), percentile(ratios, 0.025), percentile(ratios, 0.975))


@attrs.frozen
class Proportion:
    """A share of tries, with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(good: int, tries: int) -> Proportion:
    """Return *good* of *tries* with the score interval of Wilson (1927); no tries say nothing."""
    if not tries:
        return Proportion(0.0, 0.0, 1.0)
    share, z2 = good / tries, Z95**2
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    root = math.sqrt(share * (1 - share) / tries + z2 / (4 * tries**2))
    half = Z95 * root / (1 + z2 / tries)
    # Rounding must not push the share itself out.
    return Proportion(
        share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
    )
