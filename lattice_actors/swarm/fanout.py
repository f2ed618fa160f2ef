"""Several models are asked the same: who is waited for, and what one answer is made of them."""

from __future__ import annotations

import math

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.generation import Delta, FinishReason

from . import vote
from .asks import Debate, Ensemble, Limits, Strategy
from .branch import Branch
from .crew import Crew
from .events import AnswerPiece, Outcome, Row, Verdict, Vote
from .failure import SwarmFailed, all_failed
from .judging import Judge, Undecided, find_judge
from .roster import Member, expand

_JUDGED = (Strategy.BEST_OF_N, Strategy.SYNTHESIS)


async def members_of(ask: Ensemble | Debate, crew: Crew, limits: Limits) -> tuple[Member, ...]:
    """Return who is asked now. Raises BadRequest or NoModels."""
    there = await crew.host.inventory()
    return expand(
        ask.agents,
        ask.manner,
        limits,
        loaded=there.loaded,
        available=there.available,
        presets=there.presets,
    )


def deadline_of(timeout_s: float | None, crew: Crew) -> float:
    """Return when the time of all branches is over, Trio seconds."""
    return math.inf if timeout_s is None else crew.started + timeout_s


@attrs.define(eq=False)
class Fanout:
    """One ensemble at work."""

    _ask: Ensemble
    _crew: Crew
    _branches: list[Branch] = attrs.field(init=False, factory=list[Branch])
    _judge: Judge | str = attrs.field(init=False, default="")  # or why there is none
    _leader: Branch | None = attrs.field(init=False, default=None)  # its text is the answer
    _arrived: list[Row] = attrs.field(init=False, factory=list[Row])  # that are ok, in time
    _verdict: Verdict | None = attrs.field(init=False, default=None)

    async def run(self, limits: Limits) -> Outcome:
        """Ask all, and make one answer of what they say.

        Raises:
            BadRequest, NoModels: too many are to be asked, or nobody can be.
            QueueRefused: there is no room for the whole.
            SwarmFailed: nobody answered. A plain fan-out ends without an answer instead.
        """
        ask, crew = self._ask, self._crew
        members = await members_of(ask, crew, limits)
        deadline = deadline_of(ask.timeout_s, crew)
        branches = self._branches = await crew.line_up(members, ask.messages, deadline)
        if not branches:
            return self._nobody()
        at_once = ask.max_parallel or len(branches)
        for branch in branches[at_once:]:
            branch.later = True
        tickets = [branch.ticket for branch in branches]
        later = tickets[at_once:] + await self._reserve_judge()
        async with crew.admission.gang(tickets[:at_once], later):
            await crew.run_all(
                branches, heard=self._heard, ended=self._ended, max_parallel=ask.max_parallel
            )
            return await self._decide()

    async def _reserve_judge(self) -> list[Ticket]:
        ask, count = self._ask, len(self._branches)
        if ask.strategy not in _JUDGED or count < 2:
            return []
        judge = self._judge = await find_judge(
            self._crew, ask.judge, ask.messages, ask.judge_system, ask.manner
        )
        if isinstance(judge, str):
            return []
        if ask.strategy is Strategy.SYNTHESIS:
            return judge.writes()
        return judge.votes_on(count, rationale=ask.rationale)

    # --- while they answer ------------------------------------------------------------------

    @property
    def _first_wins(self) -> bool:
        """Whether the first branch with text is certain to be the answer."""
        strategy = self._ask.strategy
        return strategy is Strategy.FIRST_SUCCESS or (
            strategy is not Strategy.FANOUT and len(self._branches) == 1
        )

    def _heard(self, branch: Branch, delta: Delta) -> None:
        if branch is self._leader:
            if delta.text:
                self._crew.feed.tell(AnswerPiece(delta.text))
        elif self._leader is None and self._first_wins and branch.text.strip():
            self._leader = branch
            self._crew.stop_others(branch)
            only = len(self._branches) == 1
            why = "the only one that was asked" if only else "the first to answer"
            self._tell(branch.number, why)
            self._crew.feed.tell(AnswerPiece(branch.text))

    def _ended(self, row: Row) -> None:
        if not row.ok:
            return
        ask, crew, arrived = self._ask, self._crew, self._arrived
        arrived.append(row)
        if ask.strategy is Strategy.FANOUT and len(arrived) == 1:
            self._tell(row.branch, "the first to answer; all answers are candidates")
            crew.feed.tell(AnswerPiece(row.text))
        enough = ask.quorum is not None and len(arrived) >= ask.quorum
        clear = ask.strategy is Strategy.MAJORITY and vote.majority_is_clear(arrived, crew.live)
        if enough or clear:
            crew.stop_others()

    # --- when they have answered ------------------------------------------------------------

    async def _decide(self) -> Outcome:
        if self._leader is not None:
            return self._led_by(self._leader)
        if not self._arrived:
            return self._nobody()
        if self._ask.strategy is Strategy.FANOUT:
            return self._won(self._arrived[0])
        rows = sorted(self._arrived, key=lambda row: row.branch)
        asked = len(self._crew.rows)
        if len(rows) == 1:
            return self._pick(rows[0], f"the only answer of {asked}")
        match self._ask.strategy:
            case Strategy.LONGEST:
                return self._pick(vote.longest(rows), f"the longest of {len(rows)} answers")
            case Strategy.MAJORITY:
                tally = vote.majority(rows)
                said = f"{tally.agree} of {tally.of} answers agree"
                return self._pick(tally.winner, said, tally.votes)
        distinct = _distinct(rows)
        if len(distinct) == 1:
            return self._pick(distinct[0], f"all {len(rows)} answers are the same")
        if isinstance(self._judge, str):
            return self._pick(vote.longest(rows), f"the longest answer, as {self._judge}")
        try:
            if self._ask.strategy is Strategy.SYNTHESIS:
                return await self._written(self._judge, rows)
            return await self._judged(self._judge, distinct)
        except Undecided as undecided:
            return self._pick(vote.longest(rows), f"the longest answer, as {undecided}")

    def _led_by(self, leader: Branch) -> Outcome:
        row = next(row for row in self._crew.rows if row.branch == leader.number)
        if not row.ok:  # what it had said is with the reader already
            message = f"the answer of {row.model} broke off: {row.error}"
            raise SwarmFailed(message, self._crew.rows)
        return self._won(row)

    async def _judged(self, judge: Judge, rows: list[Row]) -> Outcome:
        pick = await judge.pick(rows, rationale=self._ask.rationale)
        return self._pick(pick.row, pick.rationale, pick.votes, judge.model, pick.label_mass)

    async def _written(self, judge: Judge, rows: list[Row]) -> Outcome:
        text, reason = await judge.write(rows)
        self._tell(None, f"{judge.model} wrote it from {len(rows)} answers", judge=judge.model)
        return self._outcome(text, judge.model, reason)

    def _nobody(self) -> Outcome:
        if self._ask.strategy is Strategy.FANOUT:
            return self._outcome("", "", FinishReason.STOP)
        raise all_failed(self._crew.rows)

    def _pick(
        self,
        row: Row,
        rationale: str,
        votes: tuple[Vote, ...] = (),
        judge: str | None = None,
        label_mass: float | None = None,
    ) -> Outcome:
        self._tell(row.branch, rationale, votes, judge, label_mass)
        self._crew.feed.tell(AnswerPiece(row.text))
        return self._won(row)

    def _won(self, row: Row) -> Outcome:
        return self._outcome(row.text, row.model, row.finish_reason or FinishReason.STOP)

    def _tell(
        self,
        winner: int | None,
        rationale: str,
        votes: tuple[Vote, ...] = (),
        judge: str | None = None,
        label_mass: float | None = None,
    ) -> None:
        self._verdict = Verdict(self._ask.strategy, winner, rationale, votes, judge, label_mass)
        self._crew.feed.tell(self._verdict)

    def _outcome(self, text: str, model: str, reason: FinishReason) -> Outcome:
        crew = self._crew
        return Outcome(
            strategy=self._ask.strategy.value,
            text=text,
            model=model,
            rows=crew.rows,
            usage=crew.usage,
            finish_reason=reason,
            verdict=self._verdict,
            notes=() if isinstance(self._judge, str) else tuple(self._judge.notes),
        )


def _distinct(rows: list[Row]) -> list[Row]:
    """Return the first row of each text."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.text.strip(), row)
    return list(first.values())
