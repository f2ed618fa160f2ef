"""The requests that crashed an engine while they were alone in it. Pure."""

from __future__ import annotations

import math

import attrs

POISON_S = 600.0  # how long a request that crashes engines is remembered
POISON_MOST = 1000  # and how many of them


@attrs.define(eq=False)
class Poison:
    """The requests that are not tried again, by fingerprint."""

    _known: dict[bytes, float] = attrs.field(init=False, factory=dict[bytes, float])

    def remember(self, fingerprint: bytes, now: float) -> None:
        """Note a request, and forget the oldest where there are too many."""
        while len(self._known) >= POISON_MOST:
            del self._known[next(iter(self._known))]
        self._known[fingerprint] = now

    def has(self, fingerprint: bytes, now: float) -> bool:
        """Whether a request is not to be tried; *now* in seconds, as in `remember`."""
        return now - self._known.get(fingerprint, -math.inf) < POISON_S
