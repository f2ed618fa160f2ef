"""What has left this machine, and what came back: exact counts. Values only."""

from __future__ import annotations

from collections import deque
from typing import Literal

import attrs

MOST_ENTRIES = 256  # of single requests; the sums go on

Purpose = Literal["answer", "models"]  # a caller's request; our own looking at what there is


@attrs.define(eq=False)
class Exchanged:
    """One request that was sent. It grows while the answer comes."""

    request_id: str
    upstream: str
    host: str  # with the port
    purpose: Purpose
    sent_bytes: int = 0  # of the body
    received_bytes: int = 0  # of the body


@attrs.define
class Sum:
    """Everything to one host for one purpose."""

    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


@attrs.define(eq=False)
class Ledger:
    """Counts bytes of bodies by host, and remembers the newest requests."""

    sums: dict[tuple[str, str, Purpose], Sum] = attrs.field(
        init=False, factory=dict[tuple[str, str, Purpose], Sum]
    )  # by upstream, host, purpose
    newest: deque[Exchanged] = attrs.field(
        init=False, factory=lambda: deque[Exchanged](maxlen=MOST_ENTRIES)
    )

    def begin(
        self, request_id: str, upstream: str, host: str, purpose: Purpose, sent_bytes: int
    ) -> Entry:
        """Note a request that is about to be sent, whether it will arrive or not."""
        entry = Exchanged(request_id, upstream, host, purpose, sent_bytes)
        total = self.sums.setdefault((upstream, host, purpose), Sum())
        total.requests += 1
        total.sent_bytes += sent_bytes
        self.newest.append(entry)
        return Entry(entry, total)


@attrs.frozen(eq=False)
class Entry:
    """One line of the ledger, to be added to."""

    _exchanged: Exchanged
    _total: Sum

    def received(self, count: int) -> None:
        """Count bytes of the answer."""
        self._exchanged.received_bytes += count
        self._total.received_bytes += count
