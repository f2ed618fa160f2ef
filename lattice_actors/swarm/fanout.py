"""Several models are asked the same: who is waited for, and when all is said."""

from __future__ import annotations

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.generation import Delta, FinishReason

from .asks import Ensemble, Limits
from .branch import Branch
from .crew import Crew
from .events import AnswerPiece, Outcome, Row, Verdict
from .failure import SwarmFailed, all_failed
from .judging import Judge, Pick, find_judge
from .strategies import DECIDERS, Decider, Written


@attrs.define(eq=False)
class Fanout:
    """One ensemble at work."""

    _ask: Ensemble
    _crew: Crew
    _decider: Decider = attrs.field(init=False)
    _branches: list[Branch] = attrs.field(init=False, factory=list[Branch])
    _judge: Judge | str = attrs.field(init=False, default="")  # or why there is none
    _leader: Branch | None = attrs.field(init=False, default=None)  # its text is the answer
    _arrived: list[Row] = attrs.field(init=False, factory=list[Row])  # that are ok, in time
    _verdict: Verdict | None = attrs.field(init=False, default=None)

    @_decider.default
    def _that_of_the_strategy(self) -> Decider:
        return DECIDERS[self._ask.strategy]

    async def run(self, limits: Limits) -> Outcome:
        """Ask all, and make one answer of what they say.

        Raises:
            BadRequest, NoModels: too many are to be asked, or nobody can be.
            QueueRefused: there is no room for the whole.
            SwarmFailed: nobody answered. A plain fan-out ends without an answer instead.
        """
        ask, crew = self._ask, self._crew
        members = await crew.members(ask, limits)
        deadline = crew.deadline(ask.timeout_s)
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
        if not self._decider.judged or count < 2:
            return []
        judge = self._judge = await find_judge(
            self._crew, ask.judge, ask.messages, ask.judge_system, ask.manner
        )
        if isinstance(judge, str):
            return []
        return self._decider.reserve(judge, count, rationale=ask.rationale)

    # --- while they answer ------------------------------------------------------------------

    @property
    def _first_wins(self) -> bool:
        """Whether the first branch with text is certain to be the answer."""
        alone = len(self._branches) == 1 and not self._decider.all_count
        return self._decider.first_wins or alone

    def _heard(self, branch: Branch, delta: Delta) -> None:
        if branch is self._leader:
            if delta.text:
                self._crew.feed.tell(AnswerPiece(delta.text))
        elif self._leader is None and self._first_wins and branch.text.strip():
            self._leader = branch
            self._crew.stop_others(branch)
            only = len(self._branches) == 1
            why = "the only one that was asked" if only else "the first to answer"
            self._tell(Verdict(self._ask.strategy, branch.number, why))
            self._crew.feed.tell(AnswerPiece(branch.text))

    def _ended(self, row: Row) -> None:
        if not row.ok:
            return
        crew, arrived, quorum = self._crew, self._arrived, self._ask.quorum
        arrived.append(row)
        if self._decider.all_count and len(arrived) == 1:
            self._show(Pick(row, "the first to answer; all answers are candidates"))
        enough = quorum is not None and len(arrived) >= quorum
        if enough or self._decider.is_clear(arrived, crew.live):
            crew.stop_others()

    # --- when they have answered ------------------------------------------------------------

    async def _decide(self) -> Outcome:
        if self._leader is not None:
            return self._led_by(self._leader)
        if not self._arrived:
            return self._nobody()
        if self._decider.all_count:
            return self._won(self._arrived[0])
        rows = sorted(self._arrived, key=lambda row: row.branch)
        if len(rows) == 1:
            made: Pick | Written = Pick(rows[0], f"the only answer of {len(self._crew.rows)}")
        else:
            made = await self._decider.decide(rows, self._judge, rationale=self._ask.rationale)
        if isinstance(made, Written):
            self._tell(Verdict(self._ask.strategy, None, made.said, judge=made.model))
            return self._outcome(made.text, made.model, made.reason)
        self._show(made)
        return self._won(made.row)

    def _led_by(self, leader: Branch) -> Outcome:
        row = next(row for row in self._crew.rows if row.branch == leader.number)
        if not row.ok:  # what it had said is with the reader already
            message = f"the answer of {row.model} broke off: {row.error}"
            raise SwarmFailed(message, self._crew.rows)
        return self._won(row)

    def _nobody(self) -> Outcome:
        if self._decider.all_count:
            return self._outcome("", "", FinishReason.STOP)
        raise all_failed(self._crew.rows)

    def _won(self, row: Row) -> Outcome:
        return self._outcome(row.text, row.model, row.finish_reason or FinishReason.STOP)

    def _show(self, pick: Pick) -> None:
        """Tell who has won, and the answer with it."""
        self._tell(
            Verdict(
                self._ask.strategy,
                pick.row.branch,
                pick.rationale,
                pick.votes,
                pick.judge,
                pick.label_mass,
            )
        )
        self._crew.feed.tell(AnswerPiece(pick.row.text))

    def _tell(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._crew.feed.tell(verdict)

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
