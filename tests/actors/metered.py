"""A metrics actor of its own, and who follows it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from lattice_actors.mailbox import Mailbox
from lattice_actors.metrics.metrics import (
    MetricsActor,
    MetricsMemory,
)
from lattice_actors.metrics.metrics_handle import Message, MetricsHandle, Shown
from lattice_actors.metrics.news import (
    Over,
)
from lattice_actors.metrics.patches import Document, apply
from lattice_actors.metrics.picture import Sources
from lattice_actors.metrics.ring import Ring
from lattice_actors.stream import TokenStream


@attrs.define
class Metrics:
    """An actor of its own, and what outlives it."""

    handle: MetricsHandle
    memory: MetricsMemory
    mailbox: Mailbox[Message]
    nursery: trio.Nursery

    @property
    def seq(self) -> int:
        return self.memory.feed.state.seq


@asynccontextmanager
async def open_metrics(shown: Shown | None = None) -> AsyncIterator[Metrics]:
    mailbox, ring = Mailbox[Message]("metrics"), Ring()
    memory = MetricsMemory(shown or Shown())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(MetricsActor(mailbox, ring, memory, Sources()).run)
        yield Metrics(MetricsHandle(mailbox, ring, memory.shown), memory, mailbox, nursery)
        nursery.cancel_scope.cancel()


class Client:
    """A follower as a page is one."""

    def __init__(self) -> None:
        self.document: Document = {}
        self.kinds: list[str] = []
        self.said: dict[tuple[str, str], str] = {}

    def hear(self, messages: Sequence[str]) -> None:
        for message in map(json.loads, messages):
            self.kinds.append(message["type"])
            match message["type"]:
                case "snapshot":
                    self.document = message["state"]
                case "delta":
                    assert message["base"] == self.document["seq"]
                    self.document = apply(self.document, message["patch"])
                case "swarm":
                    for event in message["events"]:
                        key = (event["swarm"], str(event["branch"]))
                        self.said[key] = self.said.get(key, "") + event["text"]
                case "swarm_snapshot":
                    for swarm, branches in message["swarms"].items():
                        for branch, text in branches.items():
                            self.said[swarm, branch] = text


def over(outcome: str = "ok", name: str = "r", message: str = "") -> Over:
    return Over((name, 0.0), trio.current_time(), "POST /v1/x", 200, outcome, "me", message)


@attrs.define
class Elsewhere:
    """An answer of another server."""

    granted_at: float = 0.0
    ready_at: float = 0.0
    stream: TokenStream = attrs.field(factory=TokenStream)
