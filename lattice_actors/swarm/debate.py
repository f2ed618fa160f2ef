"""Agents answer, read each other and answer again; a judge writes what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from lattice_actors.errors import BadRequest
from lattice_actors.generation import FinishReason, JsonObject

from . import vote
from .asks import Debate, Limits, Strategy
from .branch import Branch
from .crew import Crew, own_messages
from .events import AnswerPiece, Outcome, Row, Verdict
from .failure import all_failed
from .judging import Judge, Undecided, find_judge
from .roster import Member
from .turns import next_turn


@attrs.define(eq=False)
class Debater:
    """One agent over all rounds."""

    member: Member
    branches: list[Branch]  # one a round
    messages: tuple[JsonObject, ...]  # what it was shown last
    answer: Row | None = None  # its last one
    failed: bool = False  # it takes no part any more; what it said before still counts


@attrs.define(eq=False)
class Debating:
    """One debate at work."""

    _ask: Debate
    _crew: Crew
    _debaters: list[Debater] = attrs.field(init=False, factory=list[Debater])
    _notes: list[str] = attrs.field(init=False, factory=list[str])

    async def run(self, limits: Limits) -> Outcome:
        """Hold the debate.

        Raises:
            BadRequest, NoModels: too many are to be asked, or nobody can be.
            QueueRefused: there is no room for all rounds.
            SwarmFailed: nobody answered, or the judge broke off.
        """
        ask, crew = self._ask, self._crew
        await self._line_up(limits)
        if not self._debaters:
            raise all_failed(crew.rows)
        judge = await find_judge(crew, ask.judge, ask.messages, ask.judge_system, ask.manner)
        first = [debater.branches[0] for debater in self._debaters]
        rest = [branch for debater in self._debaters for branch in debater.branches[1:]]
        at_once = ask.max_parallel or len(first)
        for branch in first[at_once:]:
            branch.later = True
        later = [branch.ticket for branch in (*first[at_once:], *rest)]
        if isinstance(judge, Judge):
            later += judge.writes()
        async with crew.admission.gang([branch.ticket for branch in first[:at_once]], later):
            rounds = await self._hold()
            return await self._conclude(judge, rounds)

    async def _line_up(self, limits: Limits) -> None:
        ask, crew = self._ask, self._crew
        members = await crew.members(ask, limits)
        if len(members) < 2:
            raise BadRequest("models stands for one agent, and a debate needs two", param="models")
        deadline = crew.deadline(ask.timeout_s)
        for branch in await crew.line_up(members, ask.messages, deadline, stage="round 1"):
            member = members[branch.number]
            shown = own_messages(member.agent, ask.messages)
            branches = [branch]
            for number in range(2, ask.rounds + 1):
                later = Branch(
                    (number - 1) * len(members) + branch.number,
                    branch.agent_id,
                    branch.route,
                    crew.host.ticket(branch.route, shown, member.manner),
                    stage=f"round {number}",
                    later=True,
                    scope=trio.CancelScope(deadline=deadline),
                )
                branches.append(later)
            crew.enlist(branches)
            self._debaters.append(Debater(member, branches, shown))

    async def _hold(self) -> int:
        """Let them answer, round by round; return how many rounds there were."""
        active = self._debaters
        for number in range(1, self._ask.rounds + 1):
            if number > 1:
                self._prepare(active, number)
            await self._round(active, number)
            active = [debater for debater in active if not debater.failed]
            if len(active) < 2:
                if number < self._ask.rounds:
                    self._notes.append(f"the debate ended after round {number}: nobody to answer")
                return number
        return self._ask.rounds

    def _prepare(self, active: Sequence[Debater], number: int) -> None:
        """Show each what all others said last, also those who take no part any more."""
        crew, ask = self._crew, self._ask
        for debater in active:
            branch = debater.branches[number - 1]
            others = [d.answer.text for d in self._debaters if d is not debater and d.answer]
            assert debater.answer is not None  # it is active
            turn = next_turn(
                debater.messages,
                debater.answer.text,
                others,
                number=number,
                rounds=ask.rounds,
                context_tokens=crew.host.context_tokens(branch.route),
                answer_tokens=branch.ticket.job.max_tokens,
            )
            debater.messages = turn.messages
            crew.fill(branch.ticket, branch.route, turn.messages, debater.member.manner)
            if turn.shortened:
                self._notes.append(
                    f"round {number}: {turn.shortened} answers were shortened for "
                    f"{branch.agent_id}, to fit its context"
                )

    async def _round(self, active: Sequence[Debater], number: int) -> None:
        branches = [debater.branches[number - 1] for debater in active]
        by_branch = {b.number: d for b, d in zip(branches, active, strict=True)}
        for branch, debater in zip(branches, active, strict=True):
            own = debater.member.agent.timeout_s
            if own is not None and number > 1:
                branch.scope.deadline = min(branch.scope.deadline, trio.current_time() + own)

        def ended(row: Row) -> None:
            debater = by_branch[row.branch]
            debater.failed = not row.ok
            if row.ok:
                debater.answer = row

        await self._crew.run_all(branches, ended=ended, max_parallel=self._ask.max_parallel)

    async def _conclude(self, judge: Judge | str, rounds: int) -> Outcome:
        answers = [debater.answer for debater in self._debaters if debater.answer]
        if not answers:
            raise all_failed(self._crew.rows)
        if len(answers) == 1:
            return self._pick(answers[0], "the only one that answered", rounds)
        if isinstance(judge, str):
            return self._pick(vote.longest(answers), f"the longest answer, as {judge}", rounds)
        try:
            text, reason = await judge.write(answers)
        except Undecided as undecided:
            self._notes += judge.notes
            return self._pick(vote.longest(answers), f"the longest answer, as {undecided}", rounds)
        self._notes += judge.notes
        said = f"{judge.model} wrote it from the last answers of {len(answers)} agents"
        verdict = Verdict(Strategy.SYNTHESIS, None, said, judge=judge.model)
        return self._outcome(verdict, text, judge.model, reason, rounds)

    def _pick(self, row: Row, rationale: str, rounds: int) -> Outcome:
        verdict = Verdict(Strategy.LONGEST, row.branch, rationale)
        reason = row.finish_reason or FinishReason.STOP
        outcome = self._outcome(verdict, row.text, row.model, reason, rounds)
        self._crew.feed.tell(AnswerPiece(row.text))
        return outcome

    def _outcome(
        self, verdict: Verdict, text: str, model: str, reason: FinishReason, rounds: int
    ) -> Outcome:
        crew = self._crew
        crew.feed.tell(verdict)
        return Outcome(
            strategy="debate",
            text=text,
            model=model,
            rows=crew.rows,
            usage=crew.usage,
            finish_reason=reason,
            verdict=verdict,
            rounds=rounds,
            notes=tuple(self._notes),
        )
