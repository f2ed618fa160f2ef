"""Whom admission tells: where tickets run, and who owns memory."""

from __future__ import annotations

from typing import Protocol

from .ticket import Backend


class Backends(Protocol):
    """Where granted tickets run, by model."""

    def of(self, model: str) -> Backend:
        """Return the backend of *model*."""

    def all(self) -> tuple[Backend, ...]:
        """Return every backend that may run tickets."""


class Residents(Protocol):
    """What admission tells the evictor."""

    def want(self, model: str) -> None: ...
    def unwant(self, model: str) -> None: ...
    def drained(self, model: str) -> None: ...
    def draining(self, model: str) -> None: ...
    def remind(self) -> None: ...
    def used(self, model: str, *, busy: bool) -> None: ...
