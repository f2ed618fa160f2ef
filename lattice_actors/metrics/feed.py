"""From the metrics actor to the sockets: each message encoded once, and no queue for anybody.

A subscription knows the last state its client has. If the newest delta starts from that one, it
is what the client gets; else the whole newest state. So a slow client skips what it missed, and
costs nothing but the snapshot it gets instead.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Any

import attrs
import msgspec
import trio

from .patches import Document
from .swarms import Append

MOST_BATCHES = 64  # of swarm text: six seconds at the highest rate

_encoder = msgspec.json.Encoder()


def _text(value: object) -> str:
    """Return *value* as JSON. A lone surrogate, which has no UTF-8, becomes U+FFFD."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return _encoder.encode(_well_formed(value)).decode()


def _well_formed(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_well_formed(inner) for inner in value]
    return value


@attrs.frozen
class State:
    """Everything that is shown, at one moment. Nobody changes the document."""

    seq: int
    document: Document
    at_ms: int  # when it was made, Unix time

    @cached_property
    def encoded(self) -> str:
        """The document as JSON."""
        return _text(self.document)

    @cached_property
    def message(self) -> str:
        """What a client is sent that has nothing yet."""
        head = f'{{"type":"snapshot","seq":{self.seq},"at_ms":{self.at_ms}'
        return f'{head},"state":{self.encoded}}}'


@attrs.frozen
class Batch:
    """Swarm text of one turn, encoded once."""

    first: int
    last: int
    message: str


@attrs.define(eq=False)
class Feed:
    """What the actor publishes; it stays over incarnations of the actor."""

    state: State
    tails: Callable[[], dict[str, dict[str, str]]]  # what branches have said, for newcomers
    delta: str = attrs.field(init=False, default="")  # leads from `base` to `state`
    base: int = attrs.field(init=False, default=0)  # 0: from nowhere
    slow: int = attrs.field(init=False, default=0)  # snapshots that stood for missed deltas
    tails_at: int = attrs.field(init=False, default=0)  # number of the last append in them
    batches: deque[Batch] = attrs.field(
        init=False, factory=lambda: deque[Batch](maxlen=MOST_BATCHES)
    )
    subscribers: dict[object, Subscription] = attrs.field(
        init=False, factory=dict[object, "Subscription"]
    )  # by who asked
    woken_at: float = attrs.field(init=False, default=-math.inf)  # Trio seconds
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    def publish(self, state: State, patch: Document) -> None:
        """*state* is the newest; *patch* makes it of the one before."""
        self.base, self.state = self.state.seq, state
        self.delta = _text(
            {
                "type": "delta",
                "seq": state.seq,
                "base": self.base,
                "at_ms": state.at_ms,
                "patch": patch,
            }
        )
        self._wake()

    def append(self, appends: tuple[Append, ...]) -> None:
        """Publish what branches have said; `tails` has it already."""
        self.tails_at = appends[-1].number
        if not self.subscribers:
            self.batches.clear()  # who comes next gets the tails
            return
        events = [
            {"n": one.number, "swarm": one.session, "branch": one.branch, "text": one.text}
            for one in appends
        ]
        message = _text({"type": "swarm", "events": events})
        self.batches.append(Batch(appends[0].number, appends[-1].number, message))
        self._wake()

    def subscribe(self, who: object) -> Subscription:
        """Return a subscription that has nothing yet; `leave` ends it."""
        subscription = self.subscribers[who] = Subscription(self)
        return subscription

    def leave(self, who: object) -> None:
        """Whoever does not follow is nothing."""
        self.subscribers.pop(who, None)

    def beat(self) -> None:
        """There is nothing new; followers hear that, so that they know the line is good."""
        self._wake()

    async def wait(self) -> None:
        """Return after the next publication or heartbeat."""
        await self._news.wait()

    def _wake(self) -> None:
        self.woken_at = trio.current_time()
        news, self._news = self._news, trio.Event()
        news.set()


@attrs.define(eq=False)
class Subscription:
    """One client's place in the feed; read by one task."""

    _feed: Feed
    _seq: int = attrs.field(init=False, default=0)  # of the state the client has; 0: none
    _number: int = attrs.field(init=False, default=0)  # of the last append it has

    @property
    def seq(self) -> int:
        """The state the client has."""
        return self._seq

    async def receive(self) -> list[str]:
        """Return the messages that bring the client up to date, or say that all is well."""
        messages = self.take()
        if not messages:
            await self._feed.wait()
            messages = self.take()
        return messages or [f'{{"type":"heartbeat","seq":{self._seq}}}']

    def take(self) -> list[str]:
        """Return what the client lacks now, which may be nothing."""
        feed, messages = self._feed, list[str]()
        if self._seq != feed.state.seq:
            if self._seq and self._seq == feed.base:
                messages.append(feed.delta)
            else:
                feed.slow += self._seq != 0
                messages.append(feed.state.message)
            self._seq = feed.state.seq
        if self._number < feed.tails_at:
            messages += self._swarm_messages()
        return messages

    def _swarm_messages(self) -> list[str]:
        feed, had = self._feed, self._number
        self._number = feed.tails_at
        missed = [batch for batch in feed.batches if batch.last > had]
        if not missed or missed[0].first != had + 1:
            # It came later, or is too far behind.
            return [_text({"type": "swarm_snapshot", "n": self._number, "swarms": feed.tails()})]
        return [batch.message for batch in missed]
