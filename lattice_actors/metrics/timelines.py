"""The requests that run and the last ones that ended, each with the times of its phases. Pure.

    resolve -> queue | load -> prefill -> decode -> ended

While a request runs its answers are looked at, so that their phases cost the hot path nothing.
At its end what they say is kept, and they are let go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from .news import Answer, Arrived, Over, RequestKey, Resolved

MOST_RUNNING = 4096  # requests whose end was not told must not pile up
LOCAL = "mlx"  # the backend of engines here
MOST_ENDED = 20  # shown with their times


@attrs.frozen
class Facts:
    """What the answers of one request say at one moment. Times in Trio seconds; NaN: not yet."""

    granted_at: float = math.nan  # of the first one
    load_s: float = math.nan  # how long it waited for its model to become ready
    first_at: float = math.nan
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = None  # None: there is no prefix cache
    prefill_done: int = 0
    prefill_total: int = 0


def facts_of(answers: Sequence[Answer], asked_at: float) -> Facts:
    """Return what *answers* say; *asked_at* is when they began to wait."""
    if not answers:
        return Facts()
    first = answers[0]
    streams = [answer.stream for answer in answers]
    prefill = first.stream.prefill
    used = [stream.usage for stream in streams if stream.usage is not None]
    cached = [stream.prefill.cached for stream in streams if stream.prefill is not None]
    known = [tokens for tokens in cached if tokens is not None]
    return Facts(
        granted_at=_first(answer.granted_at for answer in answers),
        load_s=math.nan if math.isnan(first.ready_at) else max(0.0, first.ready_at - asked_at),
        first_at=_first(stream.first_delta_at for stream in streams),
        tokens=sum(
            stream.usage.completion_tokens if stream.usage is not None else stream.tokens
            for stream in streams
        ),
        prompt_tokens=sum(usage.prompt_tokens for usage in used),
        cached_tokens=sum(known) if known else None,
        prefill_done=prefill.done if prefill is not None else 0,
        prefill_total=prefill.total if prefill is not None else 0,
    )


def _first(times: Iterable[float]) -> float:
    return min((at for at in times if not math.isnan(at)), default=math.nan)


@attrs.define(eq=False)
class Timeline:
    """One request."""

    arrived: Arrived
    resolved: Resolved | None = None
    over: Over | None = None
    predicted_wait_s: float = math.nan  # when it was first seen waiting
    _kept: Facts | None = attrs.field(init=False, default=None)

    @property
    def facts(self) -> Facts:
        """What its answers say now, or said at its end."""
        if self._kept is not None:
            return self._kept
        if self.resolved is None:
            return Facts()
        return facts_of(self.resolved.answers, self.resolved.at)

    @property
    def arrived_at(self) -> float:
        """Trio seconds."""
        return self.arrived.key[1]

    @property
    def foreign(self) -> bool:
        """It is answered elsewhere: no engine here tells of its tokens."""
        return self.resolved is not None and self.resolved.backend != LOCAL

    @property
    def waits(self) -> bool:
        """It is resolved, and nobody works on it yet."""
        return self.over is None and self.resolved is not None and math.isnan(self.facts.granted_at)

    def phase(self, loading: Collection[str]) -> str:
        """Where it is; *loading*: the models that are being loaded now."""
        if self.over is not None:
            return "ended"
        if self.resolved is None:
            return "resolve"
        facts = self.facts
        if math.isnan(facts.granted_at):
            return "load" if self.resolved.model in loading else "queue"
        return "prefill" if math.isnan(facts.first_at) else "decode"

    def end(self, over: Over) -> None:
        """Keep what is known, and let the answers go."""
        self._kept = self.facts
        self.over = over
        if self.resolved is not None:
            self.resolved = attrs.evolve(self.resolved, answers=())


@attrs.define(eq=False)
class Timelines:
    """All requests that are shown."""

    _running: dict[RequestKey, Timeline] = attrs.field(
        init=False, factory=dict[RequestKey, Timeline]
    )
    _ended: deque[Timeline] = attrs.field(
        init=False, factory=lambda: deque[Timeline](maxlen=MOST_ENDED)
    )

    def arrived(self, news: Arrived) -> None:
        while len(self._running) >= MOST_RUNNING:
            del self._running[next(iter(self._running))]
        self._running[news.key] = Timeline(news)

    def resolved(self, news: Resolved) -> None:
        """Unknown requests are nothing: their beginning was dropped."""
        timeline = self._running.get(news.key)
        if timeline is not None:
            timeline.resolved = news

    def over(self, news: Over) -> Timeline | None:
        """End the request; None: it never became one for answers."""
        timeline = self._running.pop(news.key, None)
        if timeline is not None:
            timeline.end(news)
            self._ended.append(timeline)
        return timeline

    @property
    def running(self) -> tuple[Timeline, ...]:
        return tuple(self._running.values())

    def shown(self) -> Mapping[str, Timeline]:
        """Return the last ended ones and all that run, by id. An id used twice gets a mark."""
        shown: dict[str, Timeline] = {}
        for timeline in (*self._ended, *self._running.values()):
            name = request_id = timeline.arrived.key[0]
            number = 1
            while name in shown:
                number += 1
                name = f"{request_id}~{number}"
            shown[name] = timeline
        return shown
