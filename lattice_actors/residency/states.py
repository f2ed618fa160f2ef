"""The life of a resident model, as a table of legal moves. Pure.

    COLD -> LOADING -> READY -> STOPPING -> COLD
               |        |  ^       ^
               |        v  |       |
               |     RESTARTING ---+
               |        |
               v        v
            FAILED   QUARANTINED       (both -> LOADING when they may be tried again;
                                        READY -> FAILED when the memory ran out)

Memory is free only on leaving STOPPING: the process has been reaped. Draining is no state of
the model, which goes on answering what it has: admission grants nothing more of it, and tells
when the last grant has ended. Views show such a READY model as draining.
"""

from __future__ import annotations

import enum


class ModelState(enum.Enum):
    """Where a model is in its life; the words are those of `/v1/state`."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    FAILED = "failed"
    QUARANTINED = "quarantined"


S = ModelState

MOVES: dict[ModelState, frozenset[ModelState]] = {
    S.COLD: frozenset({S.LOADING, S.FAILED}),
    S.LOADING: frozenset({S.READY, S.FAILED, S.QUARANTINED, S.STOPPING}),
    S.READY: frozenset({S.RESTARTING, S.STOPPING, S.QUARANTINED, S.FAILED}),
    S.RESTARTING: frozenset({S.READY, S.STOPPING, S.QUARANTINED, S.FAILED}),
    S.STOPPING: frozenset({S.COLD}),
    S.FAILED: frozenset({S.LOADING, S.COLD}),
    S.QUARANTINED: frozenset({S.LOADING, S.COLD}),
}


class IllegalMove(Exception):
    """A bug: the state machine was asked for a move its table does not have."""


def move(state: ModelState, to: ModelState) -> ModelState:
    """Return *to*; raises `IllegalMove` when the table has no such move."""
    if to not in MOVES[state]:
        raise IllegalMove(f"{state.value} -> {to.value}")
    return to
