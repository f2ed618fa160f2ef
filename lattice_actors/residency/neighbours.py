"""Whom a model actor tells, beside admission."""

from __future__ import annotations

from typing import Protocol

from lattice_actors.metrics.news import Failed, Loaded, Stepped, Stopped

from .restart import Barred
from .room import Stage


class Evictor(Protocol):
    """What a model actor tells the evictor."""

    def loaded(self, model: str, resident_bytes: int) -> None:
        """It is READY; the process takes so many bytes (0: not measured)."""

    def gone(self, model: str, barred: Barred | None) -> None:
        """It takes no memory any more; *barred*: because it failed, and why."""

    def ran_out(self, model: str) -> None:
        """Its engine died of memory."""

    def report(self, model: str, stage: Stage | None, resident_bytes: int) -> None:
        """Answer to `ModelHandle.report`."""


class Metrics(Protocol):
    """Who is told what happened, for people."""

    def tell(self, news: Stepped | Loaded | Stopped | Failed) -> None:
        """Never waits, never fails."""
