"""What the program says to the person at the terminal, and which release it is."""

from __future__ import annotations

import sys

from lattice_actors.exit_codes import FAILED, INTERRUPTED, WRONG_USE
from lattice_actors.release import VERSION

__all__ = ["FAILED", "INTERRUPTED", "NAME", "WRONG_USE", "say", "version"]

NAME = "lattice-trio"


def version() -> str:
    """Return which release this is."""
    return VERSION


def say(line: str) -> None:
    """Tell the person at the terminal one line."""
    print(f"{NAME}: {line}", file=sys.stderr)  # noqa: T201 - the command line front end
