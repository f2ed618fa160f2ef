"""How often something may crash before its owner stops restarting it. Pure.

After Erlang/OTP's supervisors: so many restarts within so many seconds; one more and the
trouble is passed up. The first restart is immediate, later ones back off.
"""

from __future__ import annotations

import attrs


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
        return min(self.first_s * 2.0 ** (len(self._crashes) - 2), self.longest_s)

    def forget(self) -> None:
        """Start with a clean record."""
        self._crashes.clear()
