"""How one answer is made of several: one class for each strategy.

To add one, give it a name in `asks.Strategy`, write its class here and enter it in `DECIDERS`.
Routes, settings, headers and what a server says of itself are made from the names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.generation import FinishReason

from . import vote
from .asks import Strategy
from .events import Row
from .judging import Judge, Pick, Undecided


@attrs.frozen
class Written:
    """An answer that no branch gave; its pieces have been told."""

    text: str
    model: str  # that wrote it
    reason: FinishReason
    said: str  # how it came about


class Decider:
    """What a strategy decides. All that is not said here is the same for all of them."""

    first_wins: ClassVar[bool] = False  # the first branch with text is the answer, others stop
    all_count: ClassVar[bool] = False  # nobody has to win, or even to answer
    judged: ClassVar[bool] = False  # it may take a judge

    def is_clear(self, arrived: Sequence[Row], still_out: int) -> bool:
        """Say whether *still_out* more answers can change nothing: they are stopped then."""
        return False

    def reserve(self, judge: Judge, candidates: int, *, rationale: bool) -> list[Ticket]:
        """Return the tickets a judge may need for so many answers; only where `judged`."""
        return []

    async def decide(
        self, rows: Sequence[Row], judge: Judge | str, *, rationale: bool
    ) -> Pick | Written:
        """Make one answer of *rows*, at least two and all ok, in the order of the request.

        *judge* is text where there is none: it says why. *rationale*: the judge is to say why.
        """
        return Pick(rows[0], "the first of them")


class FirstSuccess(Decider):
    """Who speaks first is the answer."""

    first_wins = True


class AllOfThem(Decider):
    """Every answer counts; the first to end stands for all where one is needed."""

    all_count = True


class Longest(Decider):
    """The longest text."""

    async def decide(
        self, rows: Sequence[Row], judge: Judge | str, *, rationale: bool
    ) -> Pick | Written:
        return Pick(vote.longest(rows), f"the longest of {len(rows)} answers")


class Majority(Decider):
    """The short answer that most gave; once it is certain, nobody is waited for."""

    def is_clear(self, arrived: Sequence[Row], still_out: int) -> bool:
        return vote.majority_is_clear(arrived, still_out)

    async def decide(
        self, rows: Sequence[Row], judge: Judge | str, *, rationale: bool
    ) -> Pick | Written:
        tally = vote.majority(rows)
        return Pick(tally.winner, f"{tally.agree} of {tally.of} answers agree", tally.votes)


class Judged(Decider, ABC):
    """A judge is asked where answers differ; without its word the longest is taken."""

    judged = True

    async def decide(
        self, rows: Sequence[Row], judge: Judge | str, *, rationale: bool
    ) -> Pick | Written:
        distinct = _distinct(rows)
        if len(distinct) == 1:
            return Pick(distinct[0], f"all {len(rows)} answers are the same")
        why: object = judge
        if isinstance(judge, Judge):
            try:
                return await self.ask(judge, rows, distinct, rationale=rationale)
            except Undecided as undecided:
                why = undecided
        return Pick(vote.longest(rows), f"the longest answer, as {why}")

    @abstractmethod
    async def ask(
        self, judge: Judge, rows: Sequence[Row], distinct: Sequence[Row], *, rationale: bool
    ) -> Pick | Written:
        """Get the judge's word on *rows*, of which *distinct* differ. Raises Undecided."""


class BestOfN(Judged):
    """The one that a judge prefers."""

    def reserve(self, judge: Judge, candidates: int, *, rationale: bool) -> list[Ticket]:
        return judge.votes_on(candidates, rationale=rationale)

    async def ask(
        self, judge: Judge, rows: Sequence[Row], distinct: Sequence[Row], *, rationale: bool
    ) -> Pick | Written:
        return await judge.pick(distinct, rationale=rationale)


class Synthesis(Judged):
    """One that a judge writes from all of them."""

    def reserve(self, judge: Judge, candidates: int, *, rationale: bool) -> list[Ticket]:
        return judge.writes()

    async def ask(
        self, judge: Judge, rows: Sequence[Row], distinct: Sequence[Row], *, rationale: bool
    ) -> Pick | Written:
        text, reason = await judge.write(rows)
        said = f"{judge.model} wrote it from {len(rows)} answers"
        return Written(text, judge.model, reason, said)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each text."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.text.strip(), row)
    return list(first.values())


DECIDERS: Mapping[Strategy, Decider] = {
    Strategy.BEST_OF_N: BestOfN(),
    Strategy.FIRST_SUCCESS: FirstSuccess(),
    Strategy.LONGEST: Longest(),
    Strategy.FANOUT: AllOfThem(),
    Strategy.MAJORITY: Majority(),
    Strategy.SYNTHESIS: Synthesis(),
}
