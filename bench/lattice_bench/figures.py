"""What a suite found: each reading of each server, its spread, and its ratio to the first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import attrs

from .scenarios.shape import Metric, Readings, Round, Scenario
from .stats import (
    Ratio,
    Spread,
    median_of_known,
    paired_difference,
    paired_ratio,
    spread,
    tail_ratio,
)

COMPARED = ("ms", "tok/s")  # units; shares and counts are shown, but not divided


@attrs.frozen
class Figure:
    """One reading of one server."""

    arm: str
    label: str
    metric: Metric
    rounds: tuple[tuple[float, ...], ...]  # the values of each round, in seconds and the like
    spread: Spread  # of all values
    ratio: Ratio | None  # to the first server: the median of the rounds' medians
    tail_ratio: Ratio | None  # to the first server, at `Metric.tail`

    @property
    def medians(self) -> list[float | None]:
        """The median of each round; None where nothing was read."""
        return [median(one) if one else None for one in self.rounds]


@attrs.frozen
class Inner:
    """A ratio within one server, such as warm over cold."""

    arm: str
    name: str
    ratio: Ratio


@attrs.frozen
class Tally:
    """What was asked of one server, and how it went."""

    arm: str
    requests: int
    left: int  # answers that we ended
    refused: int  # where the scenario wants to be refused
    errors: dict[str, int]  # all other failures
    prompt_tokens: float | None  # medians of the good answers, as the server counts
    tokens: float | None
    cached_tokens: float | None


@attrs.frozen
class Result:
    """One scenario against all servers that could play it."""

    scenario: Scenario
    figures: tuple[Figure, ...]
    inner: tuple[Inner, ...]
    tallies: tuple[Tally, ...]
    # Servers that cannot play it, and why.
    left_out: dict[str, str] = attrs.field(factory=dict[str, str])


def result(
    scenario: Scenario,
    rounds: Mapping[str, Sequence[Round]],
    left_out: Mapping[str, str] | None = None,
) -> Result:
    """Boil the rounds of each server down; the first one is what the others are compared with."""
    readings = {arm: [scenario.read(one) for one in played] for arm, played in rounds.items()}
    names = dict.fromkeys(name for played in readings.values() for one in played for name in one)
    figures = list[Figure]()
    for label, metric in names:
        first: list[tuple[float, ...]] | None = None
        for arm, played in readings.items():
            values = values_of(played, label, metric)
            figures += _figure(arm, label, metric, values, first)
            first = first or values
    return Result(
        scenario,
        tuple(figures),
        tuple(one for arm, played in readings.items() for one in _inner(scenario, arm, played)),
        tuple(_tally(scenario, arm, played) for arm, played in rounds.items()),
        dict(left_out or {}),
    )


def values_of(played: Sequence[Readings], label: str, metric: Metric) -> list[tuple[float, ...]]:
    """Return the values of each round."""
    return [tuple(one.get((label, metric), ())) for one in played]


def _figure(
    arm: str,
    label: str,
    metric: Metric,
    values: Sequence[tuple[float, ...]],
    first: Sequence[tuple[float, ...]] | None,
) -> list[Figure]:
    """Return the figure, in a list; an empty one if nothing was read."""
    whole = spread([value for one in values for value in one])
    if whole is None:
        return []
    ratio = tail = None
    if first is not None and metric.unit in COMPARED:
        ratio = compare(values, first)
        if metric.tail is not None:
            tail = tail_ratio(values, first, metric.tail)
    return [Figure(arm, label, metric, tuple(values), whole, ratio, tail)]


def compare(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Ratio | None:
    """Return the ratio of the medians, round by round; rounds that one side lacks are left out."""
    pairs = [
        (median(our), median(their))
        for our, their in zip(ours, theirs, strict=True)
        if our and their and median(their)
    ]
    return paired_ratio([our for our, _ in pairs], [their for _, their in pairs])


def difference(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], scale: float
) -> Ratio | None:
    """Return the difference of the medians, round by round, times *scale*."""
    pairs = [
        (scale * median(our), scale * median(their))
        for our, their in zip(ours, theirs, strict=True)
        if our and their
    ]
    return paired_difference([our for our, _ in pairs], [their for _, their in pairs])


def _inner(scenario: Scenario, arm: str, played: Sequence[Readings]) -> list[Inner]:
    found = list[Inner]()
    for within in scenario.within:
        metric = within.metric
        over = values_of(played, within.over, metric)
        under = values_of(played, within.under, metric)
        name = f"{within.over} / {within.under}, {metric.name}"
        ratio = compare(over, under)
        if within.at_tail and metric.tail is not None:
            name += f" p{metric.tail * 100:.0f}"
            ratio = tail_ratio(over, under, metric.tail)
        if ratio is not None:
            found.append(Inner(arm, name, ratio))
    return found


def _tally(scenario: Scenario, arm: str, rounds: Sequence[Round]) -> Tally:
    answers = [answer for one in rounds for told in one.waves for answer in told.answers]
    errors: dict[str, int] = {}
    refused = 0
    for answer in answers:
        if answer.error is None:
            continue
        if scenario.expects_refusals and answer.status in (429, 503):
            refused += 1
        else:
            errors[answer.error] = errors.get(answer.error, 0) + 1
    good = [answer for answer in answers if answer.error is None and not answer.left]
    return Tally(
        arm,
        len(answers),
        sum(answer.left for answer in answers),
        refused,
        errors,
        median_of_known(answer.prompt_tokens for answer in good),
        median_of_known(answer.tokens for answer in good),
        median_of_known(answer.cached_tokens for answer in good),
    )
