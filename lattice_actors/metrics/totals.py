"""Everything since the start, as Prometheus counts it. Pure.

Names and labels are those of docs/metrics.md. However many callers there are and whatever they
ask for, the label sets are bounded twice: each label in its values, each name in its sets.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from .histograms import Buckets

# OpenTelemetry's advice for gen_ai.server.time_to_first_token, time_per_output_token and
# request.duration (semantic conventions 1.36, GenAI metrics), with longer ones for local models.
Bounds: TypeAlias = tuple[float, ...]
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TTFT_BOUNDS: Bounds = (*_TTFT, 30.0, 60.0)
_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKEN_BOUNDS: Bounds = (0.0025, 0.005, *_TOKEN)
DURATION_BOUNDS: Bounds = tuple(0.01 * 2**power for power in range(16))  # to 327.68
WAIT_BOUNDS: Bounds = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0)
LOAD_BOUNDS: Bounds = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)

MOST_LABELS = {"model": 200, "key": 50, "class": 8, "backend": 50, "code": 100}
MOST_SETS = 1000  # of labels, by name; what comes later counts together
OTHER = "other"  # where there are more

Label: TypeAlias = tuple[str, ...]


@attrs.define(eq=False)
class Labels:
    """The values of labels that have been seen: what callers choose is bounded."""

    _known: dict[str, set[str]] = attrs.field(init=False, factory=dict[str, set[str]])

    def of(self, dimension: str, value: str) -> str:
        """Return *value*, or OTHER where there are too many."""
        known = self._known.setdefault(dimension, set())
        if value not in known:
            if len(known) >= MOST_LABELS[dimension]:
                return OTHER
            known.add(value)
        return value


@attrs.define(eq=False)
class Totals:
    """By name and the values of its labels."""

    sums: dict[str, dict[Label, float]] = attrs.field(factory=dict[str, dict[Label, float]])
    buckets: dict[str, dict[Label, Buckets]] = attrs.field(factory=dict[str, dict[Label, Buckets]])

    def count(self, name: str, *label: str, amount: float = 1) -> None:
        """Add *amount* to the sum of these labels; beyond `MOST_SETS`, to that of the others."""
        sums = self.sums.setdefault(name, {})
        if label not in sums and len(sums) >= MOST_SETS:
            label = (OTHER,) * len(label)
        sums[label] = sums.get(label, 0) + amount

    def record(self, name: str, bounds: Bounds, value: float, *label: str, times: int = 1) -> None:
        """Count *value* into the buckets of these labels, bounded as `count` is."""
        made = self.buckets.setdefault(name, {})
        if label not in made:
            if len(made) >= MOST_SETS:
                label = (OTHER,) * len(label)
            made.setdefault(label, Buckets(bounds))
        made[label].record(value, times)

    def sum(self, name: str) -> float:
        """Return the sum over all labels."""
        return sum(self.sums.get(name, {}).values())
