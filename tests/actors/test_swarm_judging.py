"""Judges at work: votes in several orders, none that counts, and answers they write themselves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from trio.testing import MockClock

from lattice_actors.errors import ModelCrashed
from lattice_actors.generation import Job
from lattice_actors.swarm.asks import Limits, Strategy
from lattice_actors.swarm.events import AnswerPiece
from lattice_actors.swarm.failure import SwarmFailed
from tests.actors.swarming import (
    Said,
    Script,
    ensemble,
    hold,
    letters,
    open_world,
    prefers,
    says,
    text_shown,
)


async def test_a_judge_is_asked_in_both_orders_about_anonymous_answers(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says("one"), "b": says("two"), "j": prefers("two")}) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        jobs = world.jobs_of("j")
        assert len(jobs) == 2
        orders = [text_shown(job).index("one") < text_shown(job).index("two") for job in jobs]
        assert sorted(orders) == [False, True]
        assert all(job.grammar is not None and job.max_tokens == 1 for job in jobs)
        verdict = outcome.verdict
        assert verdict is not None
        assert (verdict.winner, verdict.judge) == (1, "j")
        assert [vote.branch for vote in verdict.votes] == [1, 0]
        assert sum(vote.share for vote in verdict.votes) == pytest.approx(1)
        assert verdict.label_mass == pytest.approx(0.9)
        assert outcome.usage.completion_tokens == 4  # two branches, and the judge twice


@pytest.mark.parametrize(("count", "questions"), [(3, 3), (5, 4), (30, 10)])
async def test_any_number_of_answers_can_be_judged(
    count: int, questions: int, autojump_clock: MockClock
) -> None:
    names = [f"m{number}" for number in range(count)]
    scripts = {name: says(f"text of {name}.") for name in names}
    async with open_world(scripts | {"j": prefers("text of m2.")}) as world:
        ask = ensemble(*names, strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world, Limits(max_branches=count))

        assert len(world.jobs_of("j")) == questions
        assert outcome.text == "text of m2."
        assert outcome.verdict is not None
        assert sum(vote.share for vote in outcome.verdict.votes) == pytest.approx(1)


async def test_a_judge_who_prefers_a_place_prefers_nobody(autojump_clock: MockClock) -> None:
    async with open_world(
        {"a": says("a long answer"), "b": says("short"), "j": says(letters(A=0.9, B=0.05))}
    ) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        assert outcome.text == "short"  # a tie


async def test_a_judge_who_wanted_to_say_something_else_is_not_trusted(
    autojump_clock: MockClock,
) -> None:
    judge = says(letters(The=0.98, A=0.01, B=0.001))
    async with open_world({"a": says("x"), "b": says("longer"), "j": judge}) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        assert outcome.text == "longer"
        assert outcome.verdict is not None
        assert "1.1% of the judge's probability" in outcome.verdict.rationale


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        ({}, "no judge: no model answers to 'j'"),
        ({"j": says(ModelCrashed("killed"))}, "the judge j failed: killed"),
        ({"j": says("I cannot say")}, "named no answer"),
    ],
)
async def test_without_a_vote_the_longest_answer_wins_and_says_why(
    judge: dict[str, Script], reason: str, autojump_clock: MockClock
) -> None:
    async with open_world({"a": says("x"), "b": says("longer"), **judge}) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        assert outcome.text == "longer"
        assert outcome.verdict is not None
        assert reason in outcome.verdict.rationale


async def test_a_judge_that_cannot_be_forced_is_read_leniently(autojump_clock: MockClock) -> None:
    def judge(job: Job) -> list[str]:
        asked = text_shown(job)
        return [
            f"A better answer would be {'A' if asked.index('two') < asked.index('one') else 'B'}"
        ]

    async with open_world({"a": says("one"), "b": says("two"), "j": judge}) as world:
        world.constrained = False
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        assert outcome.text == "two"
        assert world.jobs_of("j")[0].grammar is None


async def test_a_rationale_is_written_after_the_vote(autojump_clock: MockClock) -> None:
    vote = prefers("two")

    def judge(job: Job) -> Sequence[Said]:
        return vote(job) if job.grammar else ["It is ", "right."]

    async with open_world({"a": says("one"), "b": says("two"), "j": judge}) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j", rationale=True)
        outcome, _ = await hold(ask, world)

        assert outcome.verdict is not None
        assert outcome.verdict.rationale == "It is right."


async def test_one_survivor_needs_no_judge(autojump_clock: MockClock) -> None:
    async with open_world({"a": says(), "b": says("two"), "j": prefers("two")}) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        assert outcome.text == "two"
        assert not world.jobs_of("j")
        assert outcome.rows[0].error_kind == "empty_response"
        assert outcome.verdict is not None
        assert outcome.verdict.rationale == "the only answer of 2"


async def test_answers_that_are_the_same_need_no_judge(autojump_clock: MockClock) -> None:
    scripts = {"a": says("one"), "b": says("one "), "j": prefers("one")}
    for strategy in (Strategy.BEST_OF_N, Strategy.SYNTHESIS):
        async with open_world(scripts) as world:
            outcome, _ = await hold(ensemble("a", "b", strategy=strategy, judge="j"), world)

            assert outcome.text == "one"
            assert not world.jobs_of("j")


async def test_a_judge_sees_equal_answers_once(autojump_clock: MockClock) -> None:
    scripts = {"a": says("one"), "b": says("two"), "c": says("one"), "j": prefers("one")}
    async with open_world(scripts) as world:
        ask = ensemble("a", "b", "c", strategy=Strategy.BEST_OF_N, judge="j")
        outcome, _ = await hold(ask, world)

        assert outcome.verdict is not None
        assert [vote.branch for vote in outcome.verdict.votes] == [0, 1]
        assert len(world.jobs_of("j")) == 2


async def test_a_synthesis_streams_what_the_judge_writes(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("one"), "b": says("two"), "j": says("bo", "th")}) as world:
        ask = ensemble("a", "b", strategy=Strategy.SYNTHESIS, judge="j")
        outcome, events = await hold(ask, world)

        assert [e.text for e in events if isinstance(e, AnswerPiece)] == ["bo", "th"]
        assert (outcome.model, outcome.text) == ("j", "both")
        assert "one" in text_shown(world.jobs_of("j")[0])


async def test_a_synthesis_that_breaks_off_is_an_error_and_none_that_begins_is_not(
    autojump_clock: MockClock,
) -> None:
    ask = ensemble("a", "b", strategy=Strategy.SYNTHESIS, judge="j")
    scripts = {"a": says("one"), "b": says("three")}
    async with open_world(scripts | {"j": says("bo", ModelCrashed("killed"))}) as world:
        with pytest.raises(SwarmFailed, match="failed in its answer: killed"):
            await hold(ask, world)
    async with open_world(scripts | {"j": says(ModelCrashed("killed"))}) as world:
        outcome, _ = await hold(ask, world)

        assert outcome.text == "three"
