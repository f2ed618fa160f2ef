"""What is counted, by what it is about: in windows for people, and since the start for scrapers.

Pure. The names of `TOTALS` and their labels are those of `/metrics` (docs/metrics.md).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from .histograms import Buckets
from .news import Failed, Loaded, Over, Resolved, Stepped, Stopped
from .timelines import Facts, Timeline
from .windows import Key, Tally, Windows

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

HISTORY_S = 900  # one row a second, for the charts of a page that has just been opened
MOST_LABELS = {"model": 200, "key": 50, "class": 8, "backend": 50, "code": 100}
OTHER = "other"  # where there are more
NONE = "none"  # a request that was refused before it had a model
SWARM = "swarm"  # a request that asked several

Label: TypeAlias = tuple[str, ...]


@attrs.define(eq=False)
class Totals:
    """Everything since the start, by name and the values of its labels."""

    sums: dict[str, dict[Label, float]] = attrs.field(factory=dict[str, dict[Label, float]])
    buckets: dict[str, dict[Label, Buckets]] = attrs.field(factory=dict[str, dict[Label, Buckets]])

    def count(self, name: str, *label: str, amount: float = 1) -> None:
        sums = self.sums.setdefault(name, {})
        sums[label] = sums.get(label, 0) + amount

    def record(self, name: str, bounds: Bounds, value: float, *label: str, times: int = 1) -> None:
        made = self.buckets.setdefault(name, {})
        if label not in made:
            made[label] = Buckets(bounds)
        made[label].record(value, times)

    def sum(self, name: str) -> float:
        return sum(self.sums.get(name, {}).values())


@attrs.frozen
class Row:
    """One second: its end (Trio seconds), its tokens, its times to first token (seconds)."""

    end: float
    tokens: float
    ttft: tuple[float, ...]  # p50 and p95; empty: there was none


@attrs.define(eq=False)
class _Counted:
    granted: bool = False
    first: bool = False
    tokens: int = 0  # that no engine here has told


@attrs.define(eq=False)
class Ledger:
    """All counters. Call `advance` with the time before anything else."""

    began: float
    windows: Windows = attrs.field(init=False)
    totals: Totals = attrs.field(init=False, factory=Totals)
    history: deque[Row] = attrs.field(init=False, factory=lambda: deque[Row](maxlen=HISTORY_S))
    _counted: dict[Timeline, _Counted] = attrs.field(init=False, factory=dict[Timeline, "_Counted"])
    _known: dict[str, set[str]] = attrs.field(init=False, factory=dict[str, set[str]])

    def __attrs_post_init__(self) -> None:
        self.windows = Windows(self.began)

    @property
    def _now(self) -> Tally:
        return self.windows.now

    def advance(self, now: float) -> None:
        second = self.windows.advance(now)
        if second is None:
            return
        number, tally = second
        ttft = tally.histograms.get(("ttft", "", ""))
        shares = ttft.percentiles((0.5, 0.95)) if ttft is not None else ()
        tokens = tally.sums.get(("tokens", "", ""), 0)
        self.history.append(Row(number + 1.0, tokens, shares))

    def stepped(self, step: Stepped) -> None:
        now, model = self._now, self._label("model", step.model)
        of_model = ("tokens", "model", model)
        if step.decoded:
            now.count(("tokens", "", ""), step.decoded)
            now.count(of_model, step.decoded)
            self.totals.count("lattice_decoded_tokens", model, amount=step.decoded)
        if step.prefilled:
            now.count(("prefilled", "", ""), step.prefilled)
            now.count(("prefilled", "model", model), step.prefilled)
            self.totals.count("lattice_prefilled_tokens", model, amount=step.prefilled)
        if step.gaps > 0:
            now.record(("itl", "", ""), step.gap_s, step.gaps)
            now.record(("itl", "model", model), step.gap_s, step.gaps)
            name = "gen_ai_server_time_per_output_token_seconds"
            self.totals.record(name, TOKEN_BOUNDS, step.gap_s, model, times=step.gaps)

    def look(self, timeline: Timeline) -> None:
        """Count the grant and the first token of a request, each once, when they are there.

        And the tokens that came from elsewhere since the last look.
        """
        resolved = timeline.resolved
        if resolved is None:
            return
        counted = self._counted.setdefault(timeline, _Counted())
        if timeline.foreign:
            self._look_elsewhere(timeline, resolved, counted)
        if counted.first:
            return
        facts, dimensions = timeline.facts, self._dimensions(timeline)
        model, klass = dict(dimensions)["model"], dict(dimensions)["class"]
        if not counted.granted and not math.isnan(facts.granted_at):
            counted.granted = True
            wait_s = max(0.0, facts.granted_at - resolved.at)
            self._record("queue", wait_s, dimensions)
            self.totals.record("lattice_queue_wait_seconds", WAIT_BOUNDS, wait_s, model, klass)
            if not math.isnan(timeline.predicted_wait_s):
                off_s = abs(wait_s - timeline.predicted_wait_s)
                self._record("predicted_off", off_s, dimensions)
                name = "lattice_queue_wait_prediction_error_seconds"
                self.totals.record(name, WAIT_BOUNDS, off_s, model)
        if not math.isnan(facts.first_at):
            counted.first = True
            ttft_s = max(0.0, facts.first_at - timeline.arrived_at)
            self._record("ttft", ttft_s, dimensions)
            name = "gen_ai_server_time_to_first_token_seconds"
            self.totals.record(name, TTFT_BOUNDS, ttft_s, model, klass)

    def _look_elsewhere(self, timeline: Timeline, resolved: Resolved, counted: _Counted) -> None:
        came = timeline.facts.tokens - counted.tokens
        if came <= 0:
            return
        counted.tokens += came
        model = self._label("model", resolved.model)
        self._now.count(("tokens", "", ""), came)
        self._now.count(("tokens", "model", model), came)
        self.totals.count("lattice_upstream_tokens", model, amount=came)

    def over(self, over: Over, timeline: Timeline | None) -> None:
        """A request has ended; *timeline* None: it never became one for answers.

        The answers within a swarm count for their models; the request is the swarm.
        """
        part = timeline.arrived.part if timeline is not None else None
        if part is None:
            self._now.count(("requests", "", ""))
            if over.refused:
                self._now.count(("refused", "", ""))
                self.totals.count("lattice_errors", self._label("code", over.outcome))
        if timeline is None or timeline.resolved is None:
            self._over_without_a_model(over)
            return
        self.look(timeline)
        del self._counted[timeline]
        dimensions, facts = self._dimensions(timeline), timeline.facts
        model, klass = dict(dimensions)["model"], dict(dimensions)["class"]
        for dimension, value in dimensions:
            self._now.count(("requests", dimension, value))
            if over.refused:
                self._now.count(("refused", dimension, value))
            if dimension != "model":  # of models the engines say it, step by step
                self._now.count(("tokens", dimension, value), facts.tokens)
        if facts.tokens > 1 and not math.isnan(facts.first_at):
            each_s, gaps = (over.at - facts.first_at) / (facts.tokens - 1), facts.tokens - 1
            for dimension, value in dimensions:
                if dimension != "model" or timeline.foreign:
                    self._now.record(("itl", dimension, value), each_s, gaps)
            if timeline.foreign:
                self._now.record(("itl", "", ""), each_s, gaps)
                name = "gen_ai_server_time_per_output_token_seconds"
                self.totals.record(name, TOKEN_BOUNDS, each_s, model, times=gaps)
        name = "lattice_requests" if part is None else "lattice_swarm_answers"
        self.totals.count(name, model, klass, self._label("code", over.outcome))
        self._total(over, facts, model, klass, over.at - timeline.arrived_at)
        if part is None:
            self.totals.count("lattice_requests_by_key", dict(dimensions)["key"])

    def _over_without_a_model(self, over: Over) -> None:
        code = self._label("code", over.outcome)
        if over.strategy is None:
            self.totals.count("lattice_requests", NONE, NONE, code)
            return
        self.totals.count("lattice_requests", SWARM, NONE, code)
        self.totals.count("lattice_requests_by_key", self._label("key", over.principal))

    def _total(self, over: Over, facts: Facts, model: str, klass: str, took_s: float) -> None:
        totals, code = self.totals, self._label("code", over.outcome)
        name = "gen_ai_server_request_duration_seconds"
        totals.record(name, DURATION_BOUNDS, took_s, model, klass, code)
        totals.count("lattice_tokens", model, "input", amount=facts.prompt_tokens)
        totals.count("lattice_tokens", model, "output", amount=facts.tokens)
        if facts.cached_tokens is not None:
            self._now.count(("cached", "", ""), facts.cached_tokens)
            self._now.count(("prompt", "", ""), facts.prompt_tokens)
            totals.count("lattice_tokens", model, "cached", amount=facts.cached_tokens)
            hit = "hit" if facts.cached_tokens else "miss"
            totals.count("lattice_prefix_cache_requests", model, hit)

    def loaded(self, news: Loaded) -> None:
        model = self._label("model", news.model)
        self._now.record(("load", "", ""), news.load_s)
        self._now.record(("load", "model", model), news.load_s)
        self.totals.record("lattice_model_load_seconds", LOAD_BOUNDS, news.load_s, model)

    def stopped(self, news: Stopped) -> None:
        self._now.count(("stops", "", ""))
        self.totals.count("lattice_model_stops", self._label("model", news.model))

    def failed(self, news: Failed) -> None:
        model, code = self._label("model", news.model), self._label("code", news.code)
        self._now.count(("failures", "", ""))
        self.totals.count("lattice_model_failures", model, code)

    def _record(self, metric: str, value: float, dimensions: tuple[tuple[str, str], ...]) -> None:
        self._now.record((metric, "", ""), value)
        for dimension, label in dimensions:
            self._now.record((metric, dimension, label), value)

    def _dimensions(self, timeline: Timeline) -> tuple[tuple[str, str], ...]:
        resolved = timeline.resolved
        assert resolved is not None
        values = (
            ("model", resolved.model),
            ("class", resolved.klass),
            ("key", timeline.arrived.principal),
            ("backend", resolved.backend),
        )
        return tuple((dimension, self._label(dimension, value)) for dimension, value in values)

    def _label(self, dimension: str, value: str) -> str:
        """Return *value*, or OTHER where there are too many: what callers choose is bounded."""
        known = self._known.setdefault(dimension, set())
        if value not in known:
            if len(known) >= MOST_LABELS[dimension]:
                return OTHER
            known.add(value)
        return value


def by_dimension(total: Tally) -> Mapping[tuple[str, str], Tally]:
    """Return *total* divided by dimension and value; what is about everything has ("", "")."""
    parts: dict[tuple[str, str], Tally] = {}
    for key, amount in total.sums.items():
        parts.setdefault(key[1:], Tally()).sums[_plain(key)] = amount
    for key, histogram in total.histograms.items():
        parts.setdefault(key[1:], Tally()).histograms[_plain(key)] = histogram
    return parts


def _plain(key: Key) -> Key:
    return (key[0], "", "")
