"""What the residency policy answers: what the evictor is to do next, and why. Values only."""

from __future__ import annotations

import attrs

# Why a model leaves memory: room for another, an operator's wish, or that nobody asked for it.
EVICTED, UNLOADED, IDLE = "evicted", "unloaded", "idle"


@attrs.frozen
class Load:
    """Start loading; the bytes are reserved."""

    model: str


@attrs.frozen
class MakeRoom:
    """Ask admission to empty *victims*, when their turn is over, for *model*."""

    model: str
    victims: tuple[str, ...]


@attrs.frozen
class Drain:
    """Ask admission to empty *model* at once (an explicit unload, or idle for too long)."""

    model: str


@attrs.frozen
class Stop:
    """Nobody uses it any more: end its process and wait for the reap."""

    model: str
    why: str = EVICTED


@attrs.frozen
class CannotFit:
    """The load can never succeed as things are; *message* has the plan that was considered."""

    model: str
    message: str


Action = Load | MakeRoom | Drain | Stop | CannotFit
