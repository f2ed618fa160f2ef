"""What the program says to the person at the terminal, and the codes it exits with."""

from __future__ import annotations

import importlib.metadata
import sys

NAME = "lattice-trio"

CANNOT_SERVE = 1  # the address is taken
WRONG_USE = 2  # what was written on the command line or in the settings is wrong
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def version() -> str:
    """Return which release this is."""
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a bare checkout


def say(line: str) -> None:
    """Tell the person at the terminal one line."""
    print(f"{NAME}: {line}", file=sys.stderr)  # noqa: T201 - the command line front end
