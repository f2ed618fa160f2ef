"""What a swarm session tells its reader while it works, and at its end. Values only."""

from __future__ import annotations

import attrs

from lattice_actors.catalog.entry import LOCAL
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
    text: str = ""  # what had come, where it failed or was stopped
    reasoning: str = ""  # what the model thought before its text
    error: str | None = None
    error_kind: str | None = None  # one of `faults.KINDS`
    http_status: int | None = None  # of another server that was asked; None for models here
    error_detail: str | None = None
    latency_ms: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage = NO_USAGE
    backend: str = LOCAL
    stage: str = ""  # "round 2", the name of a step; "" in a fan-out


@attrs.frozen
class BranchDelta:
    """A piece of one branch's text. Text or reasoning may be empty, not both."""

    branch: int
    model: str
    text: str
    stage: str = ""
    reasoning: str = ""


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
    """A piece of the final answer, as soon as it is certain to be part of it.

    All pieces together are the text of the `Outcome`. The `Verdict` comes before them where it
    picks a branch, and after them where a judge writes.
    """

    text: str


@attrs.frozen
class Outcome:
    """The end of a session; nothing follows. Only a fan-out may end without any row that is ok."""

    strategy: str  # a `Strategy`'s value, "pipeline" or "debate"
    text: str
    model: str  # of the winner, the last step or the judge
    rows: tuple[Row, ...]  # in order of `branch`
    usage: Usage  # of all branches and the judge
    finish_reason: FinishReason = FinishReason.STOP
    verdict: Verdict | None = None
    rounds: int | None = None  # of a debate, as many as took place
    notes: tuple[str, ...] = ()  # "transcript trimmed: ..."


Event = BranchDelta | BranchDone | Verdict | AnswerPiece | Outcome
