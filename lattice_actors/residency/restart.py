"""When a model that failed may be tried again. Pure.

Three kinds of failure, three answers:

- the engine crashed: restart it, at once the first time, then backing off; more than the
  intensity allows and the model is quarantined for a minute, doubling to a quarter of an hour;
- the load failed for a passing cause: cool down 5 s, doubling to a minute;
- the files are broken: not again until they change, a rescan, or a DELETE.
"""

from __future__ import annotations

import random

import attrs

from lattice_actors.intensity import Intensity, backed_off_s

COOL_DOWN_FIRST_S = 5.0
COOL_DOWN_LONGEST_S = 60.0
QUARANTINE_FIRST_S = 60.0
QUARANTINE_LONGEST_S = 900.0
CLEAN_RECORD_AFTER_S = 600.0  # this long without a crash, and the past is forgotten
WINDOW_LEAST_S = 60.0  # and at least four loads: a slow crash loop must trip it too


@attrs.frozen
class Restart:
    """Start the engine again after *delay_s*."""

    delay_s: float


@attrs.frozen
class Quarantine:
    """Stop trying for *for_s*."""

    for_s: float


@attrs.frozen
class Barred:
    """Why the model may not be loaded now; `retry_after_s` is None when time does not help."""

    code: str
    reason: str
    retry_after_s: float | None


@attrs.define
class Record:
    """The failures of one model and what follows from them."""

    rng: random.Random
    _intensity: Intensity = attrs.field(init=False, factory=Intensity)
    _quarantines: int = attrs.field(init=False, default=0)
    _load_failures: int = attrs.field(init=False, default=0)
    _barred_until: float = attrs.field(init=False, default=0.0)
    _barred: Barred | None = attrs.field(init=False, default=None)
    _ready_since: float | None = attrs.field(init=False, default=None)

    def ready(self, load_s: float, now: float) -> None:
        """The engine works: load failures are forgotten, crashes only after a clean period."""
        self._intensity.window_s = max(WINDOW_LEAST_S, 4 * load_s)
        self._load_failures = 0
        self._barred = None
        self._ready_since = now

    def crashed(self, now: float) -> Restart | Quarantine:
        """Count an engine that died by itself."""
        if self._ready_since is not None and now - self._ready_since >= CLEAN_RECORD_AFTER_S:
            self._intensity.forget()
            self._quarantines = 0
        self._ready_since = None
        delay_s = self._intensity.crashed(now)
        if delay_s is not None:
            return Restart(delay_s * self.rng.random())  # full jitter
        for_s = backed_off_s(QUARANTINE_FIRST_S, QUARANTINE_LONGEST_S, self._quarantines)
        self._quarantines += 1
        self._intensity.forget()
        self._bar("model_quarantined", "its engine crashed too often", now, for_s)
        return Quarantine(for_s)

    def load_failed(
        self, reason: str, *, permanent: bool, now: float, code: str = "model_load_failed"
    ) -> Barred:
        """Count a load that failed; return what the waiting requests are told."""
        if permanent:
            return self._bar(code, reason, now, None)
        for_s = backed_off_s(COOL_DOWN_FIRST_S, COOL_DOWN_LONGEST_S, self._load_failures)
        self._load_failures += 1
        return self._bar(code, reason, now, for_s)

    def out_of_memory(self, now: float) -> Barred:
        """Count an engine that died of memory: it cools down as after a load that failed."""
        return self.load_failed("it ran out of memory", permanent=False, now=now, code="oom")

    def barred(self, now: float) -> Barred | None:
        """Return why a load is refused now, with the time left, or None when it may be tried."""
        if self._barred is None or now >= self._barred_until:
            return None
        if self._barred.retry_after_s is None:
            return self._barred
        return attrs.evolve(self._barred, retry_after_s=self._barred_until - now)

    def pardon(self) -> None:
        """Forget everything: the files changed, or an operator said so."""
        self._intensity.forget()
        self._quarantines = self._load_failures = 0
        self._barred = None

    def _bar(self, code: str, reason: str, now: float, for_s: float | None) -> Barred:
        self._barred = Barred(code, reason, for_s)
        self._barred_until = float("inf") if for_s is None else now + for_s
        return self._barred
