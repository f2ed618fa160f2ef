"""The windows as they are shown: percentiles in milliseconds, and rates. Pure."""

from __future__ import annotations

import attrs

from .ledger import Ledger, by_dimension
from .patches import Document
from .windows import SPANS, TICKS_PER_S, Tally

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
TIMES = ("ttft", "itl", "queue", "load", "predicted_off")
RATES = {"tokens": "tokens_per_s", "prefilled": "prefilled_per_s", "requests": "requests_per_s"}
REFRESH_TICKS = (1, 10, 10, 50)  # how often each window is shown anew, tenths of a second
COUNTS = ("refused", "stops", "failures", "cached", "prompt")


@attrs.define(eq=False)
class WindowViews:
    """The windows as shown, made anew only as often as they can say something new.

    The rate over a quarter of an hour changes at every turn, in a digit that nobody reads.
    """

    _made: dict[str, tuple[int, Document]] = attrs.field(
        init=False, factory=dict[str, "tuple[int, Document]"]
    )

    def of(self, ledger: Ledger, now: float) -> Document:
        for level, span in enumerate(SPANS):
            turn = int(now * TICKS_PER_S) // REFRESH_TICKS[level]
            made = self._made.get(span.name)
            if made is None or made[0] != turn:
                self._made[span.name] = turn, window(ledger, level, now)
        return {name: shown for name, (_, shown) in self._made.items()}


def window(ledger: Ledger, level: int, now: float) -> Document:
    """Return what happened in one window: in all, and by dimension."""
    covers_s = ledger.windows.covers_s(level, now)
    parts = by_dimension(ledger.windows.total(level))
    whole = _rates(parts.get(("", ""), Tally()), covers_s)
    by: dict[str, Document] = {}
    for (dimension, value), tally in parts.items():
        if dimension:
            by.setdefault(dimension, {})[value] = _rates(tally, covers_s)
    return {**whole, "by": by}


def _rates(tally: Tally, covers_s: float) -> Document:
    shown: Document = {}
    for name in TIMES:
        histogram = tally.histograms.get((name, "", ""))
        if histogram is not None and histogram.count:
            values = histogram.percentiles(tuple(PERCENTILES.values()))
            shown[f"{name}_ms"] = {
                **{
                    percentile: round(value * 1000, 2)
                    for percentile, value in zip(PERCENTILES, values, strict=True)
                },
                "count": histogram.count,
            }
    for name, shown_as in RATES.items():
        amount = tally.sums.get((name, "", ""))
        if amount is not None:
            shown[shown_as] = _short(amount / covers_s)
    for name in COUNTS:
        amount = tally.sums.get((name, "", ""))
        if amount is not None:
            shown[name] = _short(amount)
    return shown


def _short(value: float) -> float:
    """Three significant digits: the others are noise, and each change is sent."""
    return float(f"{value:.3g}")
