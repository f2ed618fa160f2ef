"""When a request that an upstream did not answer is tried again, and where. Pure."""

from __future__ import annotations

import attrs

from .faults import Blame, Fault
from .health import RetryBudget

PAUSE_S = 0.1  # before a second try at a server that failed
BUSY_PAUSE_S = 1.0  # where a server that is busy does not say for how long

# These waited for long already, or say the same the next time.
_NOT_HERE = frozenset({"upstream_timeout", "upstream_refused_key", "upstream_has_no_model"})


@attrs.frozen
class Again:
    """Try it here once more, after so many seconds."""

    pause_s: float


@attrs.frozen
class GiveUp:
    """Tell the caller; *elsewhere*: another model that the caller named may answer instead."""

    elsewhere: bool


def after(
    fault: Fault,
    *,
    tries: int,
    retries: int,
    begun: bool,
    now: float,
    patience_until: float,
    budget: RetryBudget,
) -> Again | GiveUp:
    """Decide what follows *fault*, the last of so many *tries*.

    *begun*: a piece of the answer has come, so there is no way back. Tries beyond the first are
    paid from *budget*; only a server that nobody could reach is left for free, because nothing
    was asked of it.
    """
    if begun or fault.blame is Blame.CALLER:
        return GiveUp(elsewhere=False)
    pause_s = PAUSE_S
    if fault.blame is Blame.BUSY:
        pause_s = BUSY_PAUSE_S if fault.retry_after_s is None else fault.retry_after_s
    useless = fault.code in _NOT_HERE or fault.blame is Blame.UNABLE
    here = not useless and tries <= retries and now + pause_s < patience_until
    if here and budget.spend(now):
        return Again(pause_s)
    free = fault.code == "upstream_unreachable"
    return GiveUp(elsewhere=free or budget.spend(now))
