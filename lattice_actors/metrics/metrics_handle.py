"""How the rest of the program speaks to the metrics actor: messages, handle, what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import attrs

from lattice_actors.mailbox import Mailbox, Reply

from .feed import State, Subscription
from .ledger import Ledger, Row
from .news import News, Over, SwarmNews
from .picture import Picture
from .ring import Ring
from .timelines import Timeline


@attrs.frozen
class Shown:
    """What the program's settings say about showing."""

    config: Mapping[str, object] = attrs.field(factory=dict[str, object])  # no secrets in it
    capture_prompts: bool = False  # keep what users say, while their request is shown
    preview_chars: int = 200
    max_prompt_chars: int = 8000
    max_error_chars: int = 500
    max_events: int = 200  # ended requests that are kept
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)  # never in an error's text


@attrs.frozen
class Wake:
    """There are news in the ring."""


@attrs.frozen(eq=False)
class Look:
    """What is the state? Answered with one made after this message."""

    reply: Reply[State]


@attrs.frozen(eq=False)
class Subscribe:
    """Let somebody follow; the answer has the state already."""

    reply: Reply[Subscription]


@attrs.frozen
class Leave:
    """Whoever asked with this message does not follow any more."""

    subscribe: Subscribe


@attrs.frozen
class Scraped:
    """What a scraper is told: all counters, and what there is now."""

    picture: Picture
    ledger: Ledger  # to be read before the next checkpoint
    dropped: int
    subscribers: int
    slow: int


@attrs.frozen(eq=False)
class Scrape:
    """What has been counted?"""

    reply: Reply[Scraped]


@attrs.frozen(eq=False)
class History:
    """What happened in each of the last seconds that had anything?"""

    reply: Reply[tuple[tuple[int, Row], ...]]  # with the end of the second, Unix ms


@attrs.frozen
class Past:
    """A request that is over; *timeline* None: it was refused before it could be one."""

    over: Over
    timeline: Timeline | None
    at_ms: float  # added to Trio milliseconds it is Unix time


@attrs.frozen(eq=False)
class LookBack:
    """Which requests were the last ones?"""

    reply: Reply[tuple[Past, ...]]


Message: TypeAlias = Wake | Look | Subscribe | Leave | Scrape | History | LookBack


@attrs.frozen
class MetricsHandle:
    """What the rest of the program holds. Telling never waits, never fails and keeps nobody."""

    _mailbox: Mailbox[Message]
    ring: Ring
    shown: Shown = attrs.field(factory=Shown)

    def tell(self, news: News) -> None:
        """Note what happened. Under a flood the oldest news are lost, and counted."""
        self.ring.put(news)

    def swarm(self, news: SwarmNews) -> None:
        """Note what happened in a swarm session: `SwarmBegan` first, `SwarmEnded` last."""
        self.ring.put(news)

    async def look(self) -> State:
        """Return a state made now, or within a tenth of a second."""
        return await self._mailbox.ask_anew(Look)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[Subscription]:
        """Hold a place in the feed; its first message is the state."""
        asked: list[Subscribe] = []

        def ask(reply: Reply[Subscription]) -> Subscribe:
            asked.append(Subscribe(reply))
            return asked[-1]

        try:
            yield await self._mailbox.ask_anew(ask)
        finally:
            # Also when the wait was cancelled: the answer may have crossed the cancellation.
            for subscribe in asked:
                self._mailbox.tell(Leave(subscribe))

    async def scrape(self) -> Scraped:
        """Return the counters; read them before the next checkpoint."""
        return await self._mailbox.ask_anew(Scrape)

    async def past(self) -> tuple[Past, ...]:
        """Return the last requests that are over, refused ones too, oldest first."""
        return await self._mailbox.ask_anew(LookBack)

    async def history(self) -> tuple[tuple[int, Row], ...]:
        """Return the last quarter of an hour, one row for each second that had anything."""
        return await self._mailbox.ask_anew(History)
