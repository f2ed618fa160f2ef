"""Is the engine alive? Judged by progress, never by the process being there. Pure.

A stopped process sends no pongs. A hung engine thread still has a reader thread that sends
them, but its step grows old. A load that hangs reports nothing. Times are Trio seconds.
"""

from __future__ import annotations

import attrs

NO_PONG_S = 10.0  # no word from the reader thread for so long: stopped, or gone deaf
STEP_LEAST_S = 30.0  # a step may always take this long
STEP_FACTOR = 20.0  # and this many times the slowest recent step
SLEPT_S = 5.0  # two looks further apart than this: the machine slept, nobody's age counts
FORGETTING = 0.999  # per step: one huge prefill does not excuse a hang an hour later


@attrs.define
class Vitals:
    """What was heard of one engine, and the verdict on it."""

    load_silence_s: float  # a load may be silent for this long
    _heard: float
    _looked: float = attrs.field(init=False)
    _ready: bool = attrs.field(init=False, default=False)
    _busy_s: float = attrs.field(init=False, default=0.0)
    _slowest_step_s: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self._looked = self._heard

    def progress(self, now: float) -> None:
        """The load reported something."""
        self._heard = now

    def ready(self, now: float) -> None:
        """The load is over; from here on pongs count."""
        self._ready, self._heard = True, now

    def pong(self, busy_s: float, now: float) -> None:
        """The reader thread answered; the engine has been in its step for *busy_s*."""
        self._busy_s = busy_s
        if self._ready:  # while loading only progress counts: the reader thread never hangs
            self._heard = now

    def step(self, took_s: float) -> None:
        """A step ended."""
        self._slowest_step_s = max(took_s, self._slowest_step_s * FORGETTING)

    @property
    def hung(self) -> bool:
        """The step has taken so long that it will not end."""
        return self._busy_s > max(STEP_LEAST_S, STEP_FACTOR * self._slowest_step_s)

    def verdict(self, now: float) -> str | None:
        """Return why the engine is to be given up, or None. Call it about once a second."""
        if now - self._looked > SLEPT_S:
            self._heard = now
        self._looked = now
        silence_s = now - self._heard
        if not self._ready and silence_s > self.load_silence_s:
            return f"the load made no progress for {silence_s:.0f} s"
        if self._ready and silence_s > NO_PONG_S:
            return f"the engine did not answer for {silence_s:.0f} s"
        if self.hung:
            return f"one engine step has taken {self._busy_s:.0f} s"
        return None
