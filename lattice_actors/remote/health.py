"""Whether an upstream is trusted with requests, and how often one may be tried again. Pure.

    UP -> DOWN -> TRIAL -> UP

Judged by outcomes: a server may list its models while it can generate nothing, so after a time
DOWN only a real request proves life (TRIAL: one at a time). Each time it is DOWN for longer, after
Envoy's outlier detection. One that cannot even be reached is asked again much sooner, because
asking costs nothing.
"""

from __future__ import annotations

import enum
from collections import deque

import attrs

LONGEST_EJECTION_S = 300.0
UNREACHABLE_FIRST_S = 1.0
UNREACHABLE_LONGEST_S = 30.0
CLEAN_AFTER_S = 600.0  # so long without an ejection, and the past is forgotten

BUDGET_WINDOW_S = 10.0
BUDGET_SHARE = 0.2  # of the requests in the window may be second tries,
BUDGET_FLOOR = 3  # but so many always


class State(enum.Enum):
    UP = "up"
    DOWN = "down"  # nothing is sent
    TRIAL = "trial"  # one request at a time, until one works


@attrs.define
class Health:
    """The record of one upstream. Every method says whether the state has changed."""

    eject_after: int = 5  # failures in a row
    eject_s: float = 30.0
    state: State = attrs.field(init=False, default=State.UP)
    reason: str = attrs.field(init=False, default="")  # why it is down
    until: float = attrs.field(init=False, default=0.0)  # while DOWN: when it is tried again
    failures: int = attrs.field(init=False, default=0)  # in a row
    ejections: int = attrs.field(init=False, default=0)
    _unreached: int = attrs.field(init=False, default=0)  # in a row
    _ejected_at: float = attrs.field(init=False, default=0.0)

    def succeeded(self, now: float) -> bool:
        """A request was answered."""
        if self.state is State.DOWN:  # it was sent before the ejection, and proves nothing new
            return False
        self.failures = self._unreached = 0
        if now - self._ejected_at >= CLEAN_AFTER_S:
            self.ejections = 0
        return self._become(State.UP)

    def failed(self, reason: str, now: float) -> bool:
        """A request failed for a cause that is the upstream's."""
        if self.state is State.DOWN:
            return False
        self.failures += 1
        if self.state is State.UP and self.failures < self.eject_after:
            return False
        if now - self._ejected_at >= CLEAN_AFTER_S:
            self.ejections = 0
        self.ejections += 1
        self._ejected_at = now
        self.until = now + min(self.eject_s * self.ejections, LONGEST_EJECTION_S)
        self.reason = reason
        return self._become(State.DOWN)

    def reached(self, now: float) -> bool:
        """It was asked for its models, and has answered."""
        was_unreached, self._unreached = self._unreached > 0, 0
        if self.state is not State.DOWN or (now < self.until and not was_unreached):
            return False
        return self._become(State.TRIAL)

    def unreached(self, reason: str, now: float) -> bool:
        """It was asked for its models, and there is nobody."""
        wait_s = min(UNREACHABLE_FIRST_S * 2.0 ** min(self._unreached, 8), UNREACHABLE_LONGEST_S)
        self._unreached += 1
        if self.state is State.DOWN and self._unreached == 1 and now < self.until:
            wait_s = max(wait_s, self.until - now)
        self.until, self.reason = now + wait_s, reason
        return self._become(State.DOWN)

    def _become(self, state: State) -> bool:
        changed = state is not self.state
        self.state = state
        if changed and state is not State.DOWN:
            self.failures = 0
            self.reason = ""
        return changed


@attrs.define
class RetryBudget:
    """How many requests may be tried a second time, so that a broken server gets no storm."""

    _asked: deque[float] = attrs.field(init=False, factory=deque[float])
    _retried: deque[float] = attrs.field(init=False, factory=deque[float])

    def asked(self, now: float) -> None:
        """Count a request."""
        self._forget(now)
        self._asked.append(now)

    def spend(self, now: float) -> bool:
        """Take one second try from the budget; False: there is none left."""
        self._forget(now)
        if len(self._retried) >= max(BUDGET_FLOOR, BUDGET_SHARE * len(self._asked)):
            return False
        self._retried.append(now)
        return True

    def _forget(self, now: float) -> None:
        for times in (self._asked, self._retried):
            while times and times[0] <= now - BUDGET_WINDOW_S:
                times.popleft()


@attrs.define
class Limit:
    """How many answers at once: fewer after the server said that it is busy, then more again.

    Additive increase, multiplicative decrease, between 1 and *most* (0: no limit, and then
    nothing is lowered either).
    """

    most: int
    _now: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._now = float(self.most)

    @property
    def current(self) -> int:
        """How many may run."""
        return int(self._now)

    def succeeded(self) -> bool:
        """An answer came; say whether the limit has changed."""
        return self._set(self._now + 1.0 / max(1.0, self._now))

    def overloaded(self, running: int) -> bool:
        """It refused one of so many; say whether the limit has changed."""
        return self._set(max(1.0, min(self._now, float(running)) / 2.0))

    def _set(self, value: float) -> bool:
        if not self.most:
            return False
        before = self.current
        self._now = min(float(self.most), value)
        return self.current != before
