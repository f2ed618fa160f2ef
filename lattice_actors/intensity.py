"""How often something may crash before its owner stops restarting it. Pure.

After Erlang/OTP's supervisors: so many restarts within so many seconds; one more and the
trouble is passed up. The first restart is immediate, later ones back off.
"""

from __future__ import annotations

import attrs

MOST_DOUBLINGS = 64  # beyond any longest delay; a float overflows at 1024, and crashes may go on


def backed_off_s(first_s: float, longest_s: float, times: int) -> float:
    """Return *first_s* doubled so many *times*, but never more than *longest_s*."""
    return min(first_s * 2.0 ** min(times, MOST_DOUBLINGS), longest_s)


@attrs.define
class Intensity:
    """At most *restarts* within *window_s* seconds; delays 0, *first_s*, then doubling."""

    restarts: int = 3
    window_s: float = 60.0
    first_s: float = 1.0
    longest_s: float = 60.0
    _crashes: list[float] = attrs.field(init=False, factory=list[float])

    def crashed(self, now: float) -> float | None:
        """Count a crash; return the delay before the restart, or None when it was one too many."""
        self._crashes = [at for at in self._crashes if at > now - self.window_s]
        self._crashes.append(now)
        if len(self._crashes) > self.restarts:
            return None
        if len(self._crashes) == 1:
            return 0.0
        return backed_off_s(self.first_s, self.longest_s, len(self._crashes) - 2)

    def forget(self) -> None:
        """Start with a clean record."""
        self._crashes.clear()
