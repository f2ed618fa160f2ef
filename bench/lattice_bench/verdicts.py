"""Whether a row of the table was reached, from the rounds of its servers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .figures import compare, difference, values_of
from .scenarios.shape import Readings
from .stats import Ratio, tail_ratio
from .targets import RatioTarget, Row, Target, ValueTarget


class Finding(msgspec.Struct, frozen=True):
    """One target and what was found. A ratio or difference has an interval, a value has none."""

    text: str
    bound: float
    at_most: bool
    n: int  # pairs of rounds, or values
    value: float | None = (
        None  # the median ratio or difference; the worst or mean value; None: not measured
    )
    low: float | None = None
    high: float | None = None
    why: str = ""  # nothing could be said

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None where nothing was measured."""
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def sure(self) -> bool:
        """Whether the whole interval is on the side of the verdict."""
        if self.value is None or self.low is None or self.high is None:
            return self.value is not None
        return not self.low <= self.bound <= self.high

    @property
    def verdict(self) -> str:
        if self.met is None:
            return "not measured"
        word = "reached" if self.met else "missed"
        return word if self.sure else f"{word}, the bound is inside the interval"


def judge(
    row: Row, readings: Mapping[str, Sequence[Readings]], lacks: Mapping[str, str]
) -> list[Finding]:
    """Return what was found about each target.

    *readings* are those of each server, round by round; *lacks* says why one could not play.
    """
    why = "; ".join(f"{arm}: {lack}" for arm, lack in lacks.items()) or "nothing was read"
    return [_find(target, readings, row, why) for target in row.targets]


def _find(
    target: Target, readings: Mapping[str, Sequence[Readings]], row: Row, why: str
) -> Finding:
    if isinstance(target, ValueTarget):
        return _value(target, readings.get(row.arms[0], ()), why)
    ratio = _ratio(target, readings)
    if ratio is None:
        return Finding(target.text, target.bound, target.at_most, 0, why=why)
    return Finding(
        target.text,
        target.bound,
        target.at_most,
        ratio.pairs,
        ratio.median,
        ratio.low,
        ratio.high,
    )


def _ratio(target: RatioTarget, readings: Mapping[str, Sequence[Readings]]) -> Ratio | None:
    over, under = (
        values_of(readings.get(side.arm, ()), side.label, target.metric)
        for side in (target.over, target.under)
    )
    if len(over) != len(under):
        return None
    if target.difference:
        return difference(over, under, target.metric.scale)
    if target.tail and target.metric.tail is not None:
        return tail_ratio(over, under, target.metric.tail)
    return compare(over, under)


def _value(target: ValueTarget, played: Sequence[Readings], why: str) -> Finding:
    values = [v for one in values_of(played, target.label, target.metric) for v in one]
    found = (max if target.at_most else min)(values, default=None)
    if target.mean and values:
        found = sum(values) / len(values)
    if found is not None and len(values) < target.least_values:
        why, found = f"{len(values)} values, {target.least_values} are needed", None
    return Finding(
        target.text,
        target.bound,
        target.at_most,
        len(values),
        found,
        why="" if found is not None else why,
    )
