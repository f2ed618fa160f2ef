"""What is counted, by what it is about: in windows for people, and since the start for scrapers.

Pure. The names of totals and their labels are those of `/metrics` (docs/metrics.md).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import attrs

from .news import Failed, Loaded, Over, Resolved, Stepped, Stopped
from .timelines import LOCAL, Facts, Timeline
from .totals import (
    DURATION_BOUNDS,
    LOAD_BOUNDS,
    TOKEN_BOUNDS,
    TTFT_BOUNDS,
    WAIT_BOUNDS,
    Labels,
    Totals,
)
from .windows import Key, Tally, Windows

HISTORY_S = 900  # one row a second, for the charts of a page that has just been opened
NONE = "none"  # a request that was refused before it had a model
SWARM = "swarm"  # a request that asked several
_WHOLE = ("", "")  # of no dimension: everything


@attrs.frozen
class Row:
    """One second: its end (Trio seconds), its tokens, its times to first token (seconds)."""

    end: float
    tokens: float
    ttft: tuple[float, ...]  # p50 and p95; empty: there was none


@attrs.frozen
class _About:
    """What one answer is about, as labels."""

    model: str
    klass: str
    key: str
    backend: str

    @property
    def dimensions(self) -> tuple[tuple[str, str], ...]:
        """Of the windows."""
        return (
            ("model", self.model),
            ("class", self.klass),
            ("key", self.key),
            ("backend", self.backend),
        )


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
    _labels: Labels = attrs.field(init=False, factory=Labels)

    def __attrs_post_init__(self) -> None:
        self.windows = Windows(self.began)

    @property
    def _now(self) -> Tally:
        return self.windows.now

    def advance(self, now: float) -> None:
        """Close what is over at *now*, Trio seconds."""
        second = self.windows.advance(now)
        if second is None:
            return
        number, tally = second
        ttft = tally.histograms.get(("ttft", "", ""))
        shares = ttft.percentiles((0.5, 0.95)) if ttft is not None else ()
        tokens = tally.sums.get(("tokens", "", ""), 0)
        self.history.append(Row(number + 1.0, tokens, shares))

    def stepped(self, step: Stepped) -> None:
        """Count the tokens of one step of an engine here."""
        now, model = self._now, self._labels.of("model", step.model)
        for metric, tokens in (("tokens", step.decoded), ("prefilled", step.prefilled)):
            if tokens:
                for dimension, value in _WHOLE, ("model", model), ("backend", LOCAL):
                    now.count((metric, dimension, value), tokens)
        if step.decoded:
            self.totals.count("lattice_decoded_tokens", model, LOCAL, amount=step.decoded)
        if step.prefilled:
            self.totals.count("lattice_prefilled_tokens", model, LOCAL, amount=step.prefilled)
        if step.gaps > 0:
            for dimension, value in _WHOLE, ("model", model), ("backend", LOCAL):
                now.record(("itl", dimension, value), step.gap_s, step.gaps)
            self.totals.record(
                "gen_ai_server_time_per_output_token_seconds",
                TOKEN_BOUNDS,
                step.gap_s,
                model,
                LOCAL,
                times=step.gaps,
            )

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
        facts, about = timeline.facts, self._about(timeline, resolved)
        if not counted.granted and not math.isnan(facts.granted_at):
            counted.granted = True
            self._granted(max(0.0, facts.granted_at - resolved.at), timeline, about)
        if not math.isnan(facts.first_at):
            counted.first = True
            ttft_s = max(0.0, facts.first_at - timeline.arrived_at)
            self._record("ttft", ttft_s, about)
            name, labels = "gen_ai_server_time_to_first_token_seconds", (about.model, about.backend)
            self.totals.record(name, TTFT_BOUNDS, ttft_s, *labels, about.klass)
            name = "lattice_time_to_first_token_by_key_seconds"
            self.totals.record(name, TTFT_BOUNDS, ttft_s, about.key)

    def _granted(self, wait_s: float, timeline: Timeline, about: _About) -> None:
        self._record("queue", wait_s, about)
        name, labels = "lattice_queue_wait_seconds", (about.model, about.backend)
        self.totals.record(name, WAIT_BOUNDS, wait_s, *labels, about.klass)
        self.totals.record("lattice_queue_wait_by_key_seconds", WAIT_BOUNDS, wait_s, about.key)
        if not math.isnan(timeline.predicted_wait_s):
            off_s = abs(wait_s - timeline.predicted_wait_s)
            self._record("predicted_off", off_s, about)
            name = "lattice_queue_wait_prediction_error_seconds"
            self.totals.record(name, WAIT_BOUNDS, off_s, *labels)

    def _look_elsewhere(self, timeline: Timeline, resolved: Resolved, counted: _Counted) -> None:
        came = timeline.facts.tokens - counted.tokens
        if came <= 0:
            return
        counted.tokens += came
        about = self._about(timeline, resolved)
        for dimension, value in _WHOLE, ("model", about.model), ("backend", about.backend):
            self._now.count(("tokens", dimension, value), came)
        self.totals.count("lattice_upstream_tokens", about.model, about.backend, amount=came)

    def over(self, over: Over, timeline: Timeline | None) -> None:
        """A request has ended; *timeline* None: it never became one for answers.

        The answers within a swarm count for their models; the request is the swarm.
        """
        part = timeline.arrived.part if timeline is not None else None
        if part is None:
            self._now.count(("requests", "", ""))
            if over.refused:
                self._now.count(("refused", "", ""))
                self.totals.count("lattice_errors", self._labels.of("code", over.outcome))
        if timeline is None or timeline.resolved is None:
            self._over_without_a_model(over)
            return
        self.look(timeline)
        del self._counted[timeline]
        about, facts = self._about(timeline, timeline.resolved), timeline.facts
        for dimension, value in about.dimensions:
            self._now.count(("requests", dimension, value))
            if over.refused:
                self._now.count(("refused", dimension, value))
            if dimension in ("class", "key"):  # of the others it is said while they come
                self._now.count(("tokens", dimension, value), facts.tokens)
        if facts.tokens > 1 and not math.isnan(facts.first_at):
            each_s = (over.at - facts.first_at) / (facts.tokens - 1)
            self._gaps(each_s, facts.tokens - 1, about, foreign=timeline.foreign)
        name = "lattice_requests" if part is None else "lattice_swarm_answers"
        code = self._labels.of("code", over.outcome)
        self.totals.count(name, about.model, about.backend, about.klass, code)
        self._total(facts, about, code, over.at - timeline.arrived_at)
        if part is None:
            self.totals.count("lattice_requests_by_key", about.key)

    def _gaps(self, each_s: float, gaps: int, about: _About, *, foreign: bool) -> None:
        """Count the time between tokens of an answer that is over: *each_s* in the mean.

        Engines here have told theirs of each step, by model, and know no classes and keys.
        """
        others = (("class", about.klass), ("key", about.key))
        for dimension, value in (_WHOLE, *about.dimensions) if foreign else others:
            self._now.record(("itl", dimension, value), each_s, gaps)
        name = "lattice_time_per_output_token_by_key_seconds"
        self.totals.record(name, TOKEN_BOUNDS, each_s, about.key, times=gaps)
        if foreign:
            name = "gen_ai_server_time_per_output_token_seconds"
            labels = (about.model, about.backend)
            self.totals.record(name, TOKEN_BOUNDS, each_s, *labels, times=gaps)

    def _over_without_a_model(self, over: Over) -> None:
        code = self._labels.of("code", over.outcome)
        if over.strategy is None:
            self.totals.count("lattice_requests", NONE, NONE, NONE, code)
            return
        self.totals.count("lattice_requests", SWARM, NONE, NONE, code)
        self.totals.count("lattice_requests_by_key", self._labels.of("key", over.principal))

    def _total(self, facts: Facts, about: _About, code: str, took_s: float) -> None:
        totals, model, backend = self.totals, about.model, about.backend
        name = "gen_ai_server_request_duration_seconds"
        totals.record(name, DURATION_BOUNDS, took_s, model, backend, about.klass, code)
        tokens = {"input": facts.prompt_tokens, "output": facts.tokens}
        if facts.cached_tokens is not None:
            tokens["cached"] = facts.cached_tokens
            self._now.count(("cached", "", ""), facts.cached_tokens)
            self._now.count(("prompt", "", ""), facts.prompt_tokens)
            hit = "hit" if facts.cached_tokens else "miss"
            totals.count("lattice_prefix_cache_requests", model, backend, hit)
        for kind, amount in tokens.items():
            totals.count("lattice_tokens", model, backend, kind, amount=amount)
            totals.count("lattice_tokens_by_key", about.key, kind, amount=amount)

    def loaded(self, news: Loaded) -> None:
        model = self._labels.of("model", news.model)
        for dimension, value in _WHOLE, ("model", model), ("backend", LOCAL):
            self._now.record(("load", dimension, value), news.load_s)
        self.totals.record("lattice_model_load_seconds", LOAD_BOUNDS, news.load_s, model, LOCAL)

    def stopped(self, news: Stopped) -> None:
        model, reason = self._labels.of("model", news.model), self._labels.of("code", news.reason)
        self._now.count(("stops", "", ""))
        self.totals.count("lattice_model_stops", model, LOCAL, reason)

    def failed(self, news: Failed) -> None:
        model, code = self._labels.of("model", news.model), self._labels.of("code", news.code)
        self._now.count(("failures", "", ""))
        self.totals.count("lattice_model_failures", model, LOCAL, code)

    def _record(self, metric: str, value: float, about: _About) -> None:
        for dimension, label in (_WHOLE, *about.dimensions):
            self._now.record((metric, dimension, label), value)

    def _about(self, timeline: Timeline, resolved: Resolved) -> _About:
        return _About(
            self._labels.of("model", resolved.model),
            self._labels.of("class", resolved.klass),
            self._labels.of("key", timeline.arrived.principal),
            self._labels.of("backend", resolved.backend),
        )


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
