"""What a swarm session tells its reader while it works, and at its end. Values only."""

from __future__ import annotations

import attrs

from lattice_actors.generation import FinishReason, Usage

from .asks import Strategy

NO_USAGE = Usage(0, 0)


@attrs.frozen
class Row:
    """One branch when it is over. `ok` is False for an empty text, too."""

    branch: int  # from 0, in the order of the request; counts on over rounds
    agent_id: str  # the spec as sent
    model: str  # the resolved id; the spec where nothing resolved
    ok: bool
    text: str = ""
    error: str | None = None
    error_kind: str | None = None  # as in `kinds.py`
    http_status: int | None = None
    error_detail: str | None = None
    latency_ms: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage = NO_USAGE
    backend: str = "mlx"
    stage: str = ""  # "round 2", the name of a step; "" in a fan-out


@attrs.frozen
class BranchDelta:
    """A piece of one branch's text."""

    branch: int
    model: str
    text: str
    stage: str = ""


@attrs.frozen
class BranchDone:
    """A branch is over, one way or the other."""

    row: Row


@attrs.frozen
class Vote:
    """How much of the judge's (or the branches') mass fell on one branch; 0 to 1."""

    branch: int
    model: str
    share: float


@attrs.frozen
class Verdict:
    """Who won, and why."""

    strategy: Strategy
    winner: int | None  # a branch; None where the judge wrote the answer itself
    rationale: str
    votes: tuple[Vote, ...] = ()
    judge: str | None = None  # its model
    label_mass: float | None = None  # how much of the judge's probability fell on the labels


@attrs.frozen
class AnswerPiece:
    """A piece of the final answer, as soon as it is certain to be part of it."""

    text: str


@attrs.frozen
class Outcome:
    """The end of a session that has an answer; nothing follows."""

    strategy: str  # a `Strategy`'s value, "pipeline" or "debate"
    text: str
    model: str  # of the winner, the last step or the judge
    rows: tuple[Row, ...]  # in order of `branch`
    usage: Usage  # of all branches and the judge
    finish_reason: FinishReason = FinishReason.STOP
    verdict: Verdict | None = None
    rounds: int | None = None  # of a debate
    notes: tuple[str, ...] = ()  # "transcript trimmed: ..."


Event = BranchDelta | BranchDone | Verdict | AnswerPiece | Outcome
