"""The metrics actor: what happened, in windows and timelines; and the one state that is shown.

It is told by everybody, through a ring that drops the oldest rather than make anybody wait, and
takes what has gathered ten times a second at most. The state is made only when somebody looks.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, assert_never

import attrs
import trio

from lattice_actors.mailbox import Mailbox, Reply

from .faults import Fault, Faults
from .feed import Feed, State
from .ledger import Ledger
from .metrics_handle import (
    History,
    Leave,
    Look,
    LookBack,
    Message,
    Past,
    Scrape,
    Scraped,
    Shown,
    Subscribe,
    Wake,
)
from .news import (
    Arrived,
    Failed,
    Loaded,
    News,
    Over,
    Resolved,
    Stepped,
    Stopped,
)
from .patches import difference
from .picture import Picture, Sources
from .ring import Ring
from .state import document
from .swarms import Swarms
from .timelines import Timelines
from .window_views import WindowViews

HEARTBEAT_S = 10.0  # followers hear something at least this often
ELSEWHERE_S = 1.0  # between two looks at answers that no engine here tells of
PERIOD_S = 0.1  # between two states, and between two turns at the news


@attrs.define(eq=False)
class MetricsMemory:
    """What outlives an incarnation; pass the same one to each."""

    shown: Shown = attrs.field(factory=Shown)
    began: float = attrs.field(factory=trio.current_time)
    at_ms: float = attrs.field(init=False)  # Unix milliseconds at Trio's 0, as it was at the start
    ledger: Ledger = attrs.field(init=False)
    windows: WindowViews = attrs.field(init=False, factory=WindowViews)
    timelines: Timelines = attrs.field(init=False, factory=Timelines)
    swarms: Swarms = attrs.field(init=False, factory=Swarms)
    faults: Faults = attrs.field(init=False)
    past: deque[Past] = attrs.field(init=False)
    feed: Feed = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.at_ms = time.time() * 1000 - trio.current_time() * 1000
        self.ledger = Ledger(self.began)
        self.faults = Faults(self.shown.secrets, self.shown.max_error_chars)
        self.past = deque(maxlen=self.shown.max_events)
        self.feed = Feed(State(0, {}, 0), self.swarms.tails)


@attrs.define(eq=False)
class MetricsActor:
    """One incarnation."""

    _mailbox: Mailbox[Message]
    _ring: Ring
    _memory: MetricsMemory
    _sources: Sources
    _version: str = ""
    _drain_at: float = attrs.field(init=False, default=-math.inf)
    _built_at: float = attrs.field(init=False, default=-math.inf)
    _looking: list[Reply[State]] = attrs.field(init=False, factory=list[Reply[State]])

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            message = await self._mailbox.receive(self._next())
            now = trio.current_time()
            if message is not None:
                self._on(message, now)
            if now >= self._drain_at:
                self._drain(now)
            if now >= self._next_state():
                self._build(now)

    def _next(self) -> float:
        return min(self._drain_at, self._next_state())

    def _next_state(self) -> float:
        wanted = self._looking or self._memory.feed.subscribers
        return self._built_at + PERIOD_S if wanted else math.inf

    def _on(self, message: Message, now: float) -> None:
        match message:
            case Wake():
                # What comes until then is taken with it.
                self._drain_at = min(self._drain_at, now + PERIOD_S)
            case Look(reply):
                self._looking.append(reply)
            case Subscribe(reply):
                if now >= self._built_at + PERIOD_S:
                    self._build(now)
                reply.send(self._memory.feed.subscribe(message))
            case Leave(subscribe):
                self._memory.feed.leave(subscribe)
            case Scrape(reply):
                self._drain(now)
                reply.send(self._scraped(now))
            case History(reply):
                self._drain(now)
                at_ms, rows = self._memory.at_ms, self._memory.ledger.history
                reply.send(tuple((round(at_ms + row.end * 1000), row) for row in rows))
            case LookBack(reply):
                self._drain(now)
                reply.send(tuple(self._memory.past))
            case _:
                assert_never(message)

    # --- news -------------------------------------------------------------------------------

    def _drain(self, now: float) -> None:
        memory = self._memory
        self._drain_at = math.inf
        memory.ledger.advance(now)
        for news in self._ring.take(lambda: self._mailbox.tell(Wake())):
            self._hear(news)
        running = memory.timelines.running
        if any(math.isnan(one.predicted_wait_s) and one.waits for one in running):
            self._note_predictions()
        for timeline in running:
            memory.ledger.look(timeline)
            if timeline.foreign:
                self._drain_at = now + ELSEWHERE_S
        appends = memory.swarms.take()
        if appends:
            memory.feed.append(appends)

    def _hear(self, news: News) -> None:
        memory = self._memory
        match news:
            case Stepped():
                memory.ledger.stepped(news)
            case Arrived():
                memory.timelines.arrived(news)
            case Resolved():
                memory.timelines.resolved(news)
            case Over():
                self._on_over(news)
            case Loaded():
                memory.ledger.loaded(news)
            case Stopped():
                memory.ledger.stopped(news)
            case Failed():
                memory.ledger.failed(news)
                memory.faults.add(Fault(news.at, news.code, news.message, model=news.model))
            case _:
                memory.swarms.hear(news)

    def _on_over(self, over: Over) -> None:
        memory = self._memory
        over = attrs.evolve(over, message=memory.faults.clean(over.message))
        timeline = memory.timelines.over(over)
        memory.ledger.over(over, timeline)
        memory.past.append(Past(over, timeline, memory.at_ms))
        if not over.refused:
            return
        resolved = timeline.resolved if timeline is not None else None
        memory.faults.add(
            Fault(
                over.at,
                over.outcome,
                over.message,
                over.key[0],
                over.status,
                over.route,
                resolved.model if resolved else None,
                resolved.klass if resolved else None,
                over.principal,
            )
        )

    def _note_predictions(self) -> None:
        """Remember what those who have begun to wait would have been told."""
        queue = self._sources.queue()
        if queue is None:
            return
        predicted = {one.ticket: one.predicted_wait_s + one.waited_s for one in queue.waiting}
        for timeline in self._memory.timelines.running:
            if timeline.resolved is not None and math.isnan(timeline.predicted_wait_s):
                waits = [
                    predicted[answer] for answer in timeline.resolved.answers if answer in predicted
                ]
                timeline.predicted_wait_s = min(waits, default=math.nan)

    # --- the state --------------------------------------------------------------------------

    def _picture(self, now: float) -> Picture:
        return Picture.of(self._sources, now, self._memory.at_ms)

    def _build(self, now: float) -> None:
        """Make a state, publish it where it differs from the last, and answer who looks."""
        self._drain(now)
        self._built_at = now
        memory, feed = self._memory, self._memory.feed
        shown = document(
            self._picture(now),
            memory.ledger,
            memory.windows.of(memory.ledger, now),
            memory.timelines,
            memory.swarms,
            memory.faults.kept,
            config=memory.shown.config,
            extra=self._extra(),
        )
        seq = feed.state.seq
        patch = difference(feed.state.document, {**shown, "seq": seq} if seq else shown)
        if patch or not seq:
            patch["seq"] = seq + 1
            state = State(seq + 1, {**shown, "seq": seq + 1}, self._unix_ms(now))
            feed.publish(state, patch)
        elif now >= feed.woken_at + HEARTBEAT_S:
            feed.beat()
        looking, self._looking = self._looking, []
        for reply in looking:
            reply.send(feed.state)

    def _extra(self) -> dict[str, Any]:
        feed = self._memory.feed
        return {
            "server": {
                "version": self._version,
                "started_ms": self._unix_ms(self._memory.began),
            },
            "dashboard": {
                "subscribers": len(feed.subscribers),
                "slow": feed.slow,
                "dropped_news": self._ring.dropped,
            },
        }

    def _unix_ms(self, at: float) -> int:
        return round(self._memory.at_ms + at * 1000)

    def _scraped(self, now: float) -> Scraped:
        memory = self._memory
        return Scraped(
            self._picture(now),
            memory.ledger,
            self._ring.dropped,
            len(memory.feed.subscribers),
            memory.feed.slow,
        )
