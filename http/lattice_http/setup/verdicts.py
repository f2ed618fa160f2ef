"""What a check says: how it stands, and what to do. Values only."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs


class Level(enum.Enum):
    """How it stands."""

    FINE = "fine"
    WARNING = "warning"  # serve starts and answers, but less well or less safely than it could
    PROBLEM = "problem"  # serve would not start, or could answer nothing


@attrs.frozen
class Verdict:
    """One line of the report."""

    check: str
    level: Level
    found: str
    remedy: str = ""  # what to do; nothing where all is well


def fine(check: str, found: str) -> Verdict:
    """Return that all is well."""
    return Verdict(check, Level.FINE, found)


def warning(check: str, found: str, remedy: str) -> Verdict:
    """Return that something could be better."""
    return Verdict(check, Level.WARNING, found, remedy)


def problem(check: str, found: str, remedy: str) -> Verdict:
    """Return that something is in the way."""
    return Verdict(check, Level.PROBLEM, found, remedy)


def stops(verdicts: Iterable[Verdict]) -> bool:
    """Whether one of them is in the way of serving."""
    return any(verdict.level is Level.PROBLEM for verdict in verdicts)
