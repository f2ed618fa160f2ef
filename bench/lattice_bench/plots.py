"""Plots as SVG text: distributions as strips with boxes, and ratios with their intervals. Pure.

Nothing in them needs a script or a font; colours come from classes that the page defines, so that
they follow its light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import attrs

from .stats import Ratio, percentile

WIDTH = 860
LEFT, RIGHT = 220, 24  # room for names, and for the last number of the axis
ROW, TOP, BOTTOM = 34, 8, 26
LEAST_RATIO = 1e-3  # smaller ones stand at the edge of their plot
DOTS = 160  # of a row; more would only make the file large
TICKS = 6
FAR = 40.0  # when the largest is so many times the smallest, the axis is logarithmic


@attrs.frozen
class Strip:
    """One row of a distribution plot."""

    name: str
    colour: int  # number of the class
    values: Sequence[float]  # not empty


@attrs.frozen
class Axis:
    """From values to pixels."""

    low: float
    high: float
    log: bool

    def x(self, value: float) -> float:
        """Return the pixel of *value*; what is beyond an end stands at it."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> list[float]:
        """Return some `TICKS` round values between the ends."""
        if not self.log:
            step = nice_step((self.high - self.low) / TICKS)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [round(at * step, 12) for at in range(first, last + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
        found = [tick for tick in found if self.low <= tick <= self.high]
        return found if len(found) <= 2 * TICKS else [t for t in found if f"{t:e}"[0] == "1"]


def nice_step(raw: float) -> float:
    """Return the next of 1, 2, 5, 10, ... that is not below *raw*."""
    decade = 10.0 ** math.floor(math.log10(raw))
    return next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= raw * (1 - 1e-9))


def axis(values: Sequence[float]) -> Axis:
    """Return an axis that begins at 0, or a logarithmic one if the values are far apart."""
    high = max(values)
    low = min((value for value in values if value > 0), default=high)
    if low > 0 and high / low > FAR and min(values) > 0:
        return Axis(low / 1.1, high * 1.1, log=True)
    return Axis(0.0, high * 1.05 or 1.0, log=False)


def strips(rows: Sequence[Strip], unit: str, title: str) -> str:
    """Return a plot with a row for each: dots, the middle half, the median, p95 and p99.

    The axis ends at the largest p99, or little beyond: one lost packet shall not flatten the rest.
    """
    ends = [value for row in rows for value in (min(row.values), percentile(row.values, 0.99))]
    scale = axis(ends)
    parts = [_frame(scale, len(rows), unit)]
    for number, row in enumerate(rows):
        middle = TOP + ROW * number + ROW / 2
        p25, p50, p75, p95, p99 = (
            percentile(row.values, share) for share in (0.25, 0.5, 0.75, 0.95, 0.99)
        )
        hint = (
            f"{row.name}: median {short(p50)} {unit}, middle half {short(p25)} to {short(p75)}, "
            f"p95 {short(p95)}, p99 {short(p99)}, {len(row.values)} values"
        )
        parts.append(f'<g class="c{row.colour}"><title>{escape(hint)}</title>')
        parts.append(_name(row.name, middle))
        for at, value in enumerate(thinned(row.values)):
            y = middle + (at * 7 % 17 - 8) * 0.9  # spread out, the same way each time
            parts.append(f'<circle cx="{scale.x(value):.1f}" cy="{y:.1f}" r="1.7"/>')
        left, right = scale.x(p25), scale.x(p75)
        width = max(1.0, right - left)
        parts.append(f'<rect x="{left:.1f}" y="{middle - 9}" width="{width:.1f}" height="18"/>')
        for value, half, kind in ((p50, 12, "median"), (p95, 6, "tail"), (p99, 6, "tail")):
            x = scale.x(value)
            parts.append(
                f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{middle - half}" '
                f'y2="{middle + half}"/>'
            )
        parts.append("</g>")
    return _svg(parts, len(rows), title)


def thinned(values: Sequence[float]) -> list[float]:
    """Return at most `DOTS` of *values*, evenly by rank, the largest included."""
    ordered = sorted(values)
    if len(ordered) <= DOTS:
        return ordered
    return [ordered[round(at * (len(ordered) - 1) / (DOTS - 1))] for at in range(DOTS)]


def ratios(rows: Sequence[tuple[str, int, Ratio]], title: str) -> str:
    """Return a plot of ratios with their intervals, on a logarithmic axis with a line at 1."""
    # A median of 0 (gaps that arrive in one read) has no place on this axis but its edge.
    low = max(LEAST_RATIO, min(1.0, *(ratio.low for _, _, ratio in rows)))
    high = max(1.0, *(ratio.high for _, _, ratio in rows))
    scale = Axis(low / 1.15, high * 1.15, log=True)
    one = scale.x(1.0)
    bottom = TOP + ROW * len(rows)
    parts = [_frame(scale, len(rows), "times")]
    parts.append(f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{TOP}" y2="{bottom}"/>')
    for number, (name, colour, ratio) in enumerate(rows):
        middle = TOP + ROW * number + ROW / 2
        left, right = scale.x(ratio.low), scale.x(ratio.high)
        text = f"{short(ratio.median)} ({short(ratio.low)} to {short(ratio.high)})"
        hint = f"{name}: {text}, {ratio.pairs} pairs"
        x = scale.x(ratio.median)
        parts.append(
            f'<g class="c{colour}"><title>{escape(hint)}</title>{_name(name, middle)}'
            f'<line class="range" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<circle class="point" cx="{x:.1f}" cy="{middle}" r="5"/>'
            f'<text class="value" x="{x:.1f}" y="{middle - 8}" text-anchor="middle">'
            f"{short(ratio.median)}</text></g>"
        )
    return _svg(parts, len(rows), title)


def short(value: float) -> str:
    """Return *value* with three significant digits and no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def _frame(scale: Axis, rows: int, unit: str) -> str:
    bottom = TOP + ROW * rows
    parts = list[str]()
    for tick in scale.ticks():
        x = scale.x(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{tick:,g}</text>"
        )
    kind = ", log scale" if scale.log else ""
    parts.append(
        f'<text class="tick" x="{LEFT - 12}" y="{bottom + 14}" text-anchor="end">'
        f"{escape(unit)}{kind}</text>"
    )
    return "".join(parts)


def _name(name: str, middle: float) -> str:
    return (
        f'<text class="name" x="{LEFT - 12}" y="{middle + 4}" text-anchor="end">'
        f"{escape(name)}</text>"
    )


def _svg(parts: Sequence[str], rows: int, title: str) -> str:
    height = TOP + ROW * rows + BOTTOM
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>\n"
    )
