"""What the outside world can do to the bench, as one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lattice_actors.exit_codes import FAILED, WRONG_USE

from .limit import BareFailed
from .load import NETWORK_ERRORS
from .player import ArmFailed
from .process import NotStarted

__all__ = ["FAILED", "WRONG_USE", "below_one", "say", "tell_failures"]


@contextmanager
def tell_failures() -> Iterator[list[int]]:
    """Turn failures of servers and processes into a message, and a code in the list."""
    codes = list[int]()
    try:
        yield codes
    except* (NotStarted, BareFailed, ArmFailed, *NETWORK_ERRORS) as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        said = str(error) or type(error).__name__
        if isinstance(error, OSError):
            said += "; is the server running there?"
        codes.append(say(said, FAILED))


def say(message: str, code: int) -> int:
    """Write one line for the user; return *code*."""
    sys.stderr.write(f"bench: {message}\n")
    return code


def below_one(**counts: float) -> str | None:
    """Return what is wrong with the first of *counts*, by the name of its flag, that is below 1."""
    for name, count in counts.items():
        if count < 1:
            return f"--{name.replace('_', '-')}: expected at least 1, not {count:g}"
    return None
