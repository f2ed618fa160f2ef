"""Ensembles on the mock clock: who is waited for, who is stopped, and what the answer is."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.errors import BadRequest, ModelCrashed, QueueRefused, RequestCancelled
from lattice_actors.swarm.asks import Agent, Ensemble, Manner, Strategy
from lattice_actors.swarm.events import AnswerPiece, BranchDelta, BranchDone, Verdict
from lattice_actors.swarm.failure import SwarmFailed
from lattice_actors.swarm.session import open_swarm
from lattice_actors.swarm.strategies import DECIDERS
from tests.actors.swarming import (
    USER,
    ensemble,
    events_of,
    hold,
    letters,
    open_world,
    prefers,
    says,
)


def test_every_strategy_has_somebody_who_decides() -> None:
    assert set(DECIDERS) == set(Strategy)


async def test_the_longest_answer_wins_and_usage_is_summed(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("short"), "b": says("much ", "longer")}) as world:
        outcome, events = await hold(ensemble("a", "b"), world)

        assert outcome.text == "much longer"
        assert outcome.model == "b"
        assert [row.text for row in outcome.rows] == ["short", "much longer"]
        assert (outcome.usage.prompt_tokens, outcome.usage.completion_tokens) == (20, 3)
        told = [event for event in events if isinstance(event, BranchDelta)]
        assert [event.text for event in told if event.branch == 1] == ["much ", "longer"]


async def test_blanks_do_not_lead(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("  ", " ", "late"), "b": says(0.5, "now")}) as world:
        outcome, _ = await hold(ensemble("a", "b", strategy=Strategy.FIRST_SUCCESS), world)

        assert outcome.text == "now"


async def test_a_leader_streams_while_it_writes(autojump_clock: MockClock) -> None:
    async with open_world({"a": says(5.0, "late"), "b": says("now ", "more")}) as world:
        started = trio.current_time()

        outcome, events = await hold(ensemble("a", "b", strategy=Strategy.FIRST_SUCCESS), world)

        assert [e.text for e in events if isinstance(e, AnswerPiece)] == ["now ", "more"]
        assert dict(world.freed)["a"] == started + 1  # the moment b says a word
        assert [row.error_kind for row in outcome.rows] == ["cancelled", None]
        assert outcome.verdict is not None
        assert outcome.verdict.winner == 1
        assert next(i for i, e in enumerate(events) if isinstance(e, Verdict)) < next(
            i for i, e in enumerate(events) if isinstance(e, AnswerPiece)
        )


async def test_a_leader_that_breaks_off_ends_the_answer_with_its_reason(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says("so ", ModelCrashed("gone")), "b": says(9.0, "x")}) as world:
        with pytest.raises(SwarmFailed, match="broke off: gone") as raised:
            await hold(ensemble("a", "b", strategy=Strategy.FIRST_SUCCESS), world)

        assert raised.value.kinds == {"cancelled": 1, "model_crashed": 1}


async def test_who_fails_before_a_word_does_not_lead(autojump_clock: MockClock) -> None:
    async with open_world({"a": says(ModelCrashed("gone")), "b": says(3.0, "here")}) as world:
        outcome, _ = await hold(ensemble("a", "b", strategy=Strategy.FIRST_SUCCESS), world)

        assert outcome.text == "here"


async def test_a_crash_is_a_row_and_the_vote_goes_on(autojump_clock: MockClock) -> None:
    scripts = {"a": says("one"), "b": says("tw", ModelCrashed("killed")), "c": says("three")}
    async with open_world(scripts | {"j": prefers("three")}) as world:
        outcome, _ = await hold(
            ensemble("a", "b", "c", strategy=Strategy.BEST_OF_N, judge="j"), world
        )

        assert outcome.text == "three"
        assert [row.error_kind for row in outcome.rows] == [None, "model_crashed", None]
        assert outcome.rows[1].text == "tw"


async def test_a_majority_is_called_as_soon_as_it_is_clear(autojump_clock: MockClock) -> None:
    scripts = {"a": says("42"), "b": says("The answer is 42."), "c": says(60.0, "41")}
    async with open_world(scripts) as world:
        started = trio.current_time()
        outcome, _ = await hold(ensemble("a", "b", "c", strategy=Strategy.MAJORITY), world)

        assert trio.current_time() == started + 1
        assert outcome.text == "42"
        assert outcome.rows[2].error_kind == "cancelled"
        assert outcome.verdict is not None
        assert outcome.verdict.rationale == "2 of 2 answers agree"


async def test_a_quorum_stops_the_rest(autojump_clock: MockClock) -> None:
    scripts = {"a": says(30.0, "slow"), "b": says("x"), "c": says("yy")}
    async with open_world(scripts) as world:
        outcome, _ = await hold(ensemble("a", "b", "c", quorum=2), world)

        assert outcome.text == "yy"
        assert outcome.rows[0].error_kind == "cancelled"


async def test_late_branches_are_cancelled_and_are_timeouts(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("part", 60.0, "x"), "b": says("in time")}) as world:
        started = trio.current_time()
        outcome, _ = await hold(ensemble("a", "b", timeout_s=10.0), world)

        assert outcome.text == "in time"
        row = outcome.rows[0]
        assert (row.ok, row.error_kind, row.text, row.latency_ms) == (
            False,
            "timeout",
            "part",
            10_000,
        )
        assert ("a", started + 10) in world.freed


async def test_a_branch_may_have_less_time_than_the_rest(autojump_clock: MockClock) -> None:
    async with open_world({"a": says(3.0, "x"), "b": says(8.0, "y")}) as world:
        agents = (Agent("a", plain=False, timeout_s=2.0), Agent("b"))
        outcome, _ = await hold(Ensemble(agents, USER, Strategy.FANOUT), world)

        assert [row.error_kind for row in outcome.rows] == ["timeout", None]


async def test_a_miss_only_fails_its_slot(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("x")}) as world:
        outcome, _ = await hold(ensemble("nobody", "a", strategy=Strategy.FANOUT), world)

        miss = outcome.rows[0]
        assert (miss.model, miss.error_kind, miss.ok) == ("nobody", "model_not_resolved", False)
        assert outcome.rows[1].ok


async def test_a_fanout_tells_the_first_answer_and_waits_for_all(autojump_clock: MockClock) -> None:
    async with open_world({"a": says(5.0, "slow"), "b": says("quick")}) as world:
        outcome, events = await hold(ensemble("a", "b", strategy=Strategy.FANOUT), world)

        assert outcome.text == "quick"
        assert [row.ok for row in outcome.rows] == [True, True]
        told = [type(event) for event in events if not isinstance(event, BranchDelta)]
        assert told.index(AnswerPiece) < len(told) - 1 - told[::-1].index(BranchDone)


async def test_all_failed_is_an_error_with_rows_and_a_fanout_of_failures_is_none(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says(), "b": says(" ")}) as world:
        with pytest.raises(SwarmFailed, match="a larger max_tokens may help") as raised:
            await hold(ensemble("a", "b"), world)
        outcome, _ = await hold(ensemble("a", "nobody", strategy=Strategy.FANOUT), world)

        assert raised.value.kinds == {"empty_response": 2}
        assert len(raised.value.rows) == 2
        assert not any(row.ok for row in outcome.rows)


async def test_a_refused_gang_refuses_the_whole_swarm(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("x")}) as world:
        world.refuse_gang = QueueRefused("full", retry_after_s=3.0)
        with pytest.raises(QueueRefused):
            await hold(ensemble("a"), world)


async def test_a_hundred_samples_are_refused_by_a_limit_with_its_number(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says("x")}) as world:
        ask = Ensemble((Agent("a", plain=False, samples=100),), USER, Strategy.FANOUT)
        with pytest.raises(BadRequest, match="100 branches, and a swarm has at most 16"):
            await hold(ask, world)

        assert not world.granted


async def test_samples_of_one_model_differ_by_their_seed(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("x")}) as world:
        ask = Ensemble(
            (Agent("a", plain=False, samples=3),), USER, Strategy.FANOUT, manner=Manner(seed=7)
        )
        await hold(ask, world)

        assert sorted(job.sampling.seed or 0 for job in world.jobs_of("a")) == [7, 8, 9]


async def test_max_parallel_bounds_the_branches(autojump_clock: MockClock) -> None:
    scripts = {name: says("x") for name in "abcde"}
    async with open_world(scripts) as world:
        outcome, _ = await hold(ensemble(*"abcde", max_parallel=2), world)

        assert world.most_running == 2
        assert all(row.ok for row in outcome.rows)


async def test_a_branch_stopped_from_outside_leaves_the_others_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_world(
        {"a": says("x", "y", 50.0, "z"), "b": says("one ", "two ", "three")}
    ) as world:
        ask = ensemble("a", "b", strategy=Strategy.FANOUT)
        async with open_swarm(ask, world, world) as session:
            await session.receive()
            stopped = session.cancel_branch(0)
            outcome = (await events_of(session))[-1]

            assert stopped
            assert not session.cancel_branch(0)
            assert not session.cancel_branch(9)
        assert [row.error_kind for row in outcome.rows] == ["cancelled", None]  # type: ignore[union-attr]
        assert outcome.rows[1].text == "one two three"  # type: ignore[union-attr]


async def test_of_two_ends_at_one_moment_the_stop_is_told(autojump_clock: MockClock) -> None:
    async with open_world({"a": says(50.0, "x"), "b": says("y")}) as world:
        ask = ensemble("a", "b", strategy=Strategy.FANOUT)
        async with open_swarm(ask, world, world) as session:
            await trio.sleep(10)
            next(iter(world.running)).stream.fail(ModelCrashed("killed"))
            session.cancel_branch(0)
            session.cancel_branch(0)
            outcome = (await events_of(session))[-1]

        assert outcome.rows[0].error_kind == "cancelled"  # type: ignore[union-attr]


async def test_a_branch_that_waits_for_its_turn_can_be_stopped(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("x"), "b": says("y")}) as world:
        ask = ensemble("a", "b", strategy=Strategy.FANOUT, max_parallel=1)
        async with open_swarm(ask, world, world) as session:
            await trio.sleep(0.5)
            assert session.cancel_branch(1)
            await events_of(session)

        assert [model for model, _ in world.granted] == ["a"]


async def test_who_is_stopped_while_it_waits_gives_back_no_turn(
    autojump_clock: MockClock,
) -> None:
    async with open_world({name: says("x", "y") for name in "abcde"}) as world:
        ask = ensemble(*"abcde", strategy=Strategy.FANOUT, max_parallel=1)
        async with open_swarm(ask, world, world) as session:
            await trio.sleep(0.5)
            assert session.cancel_branch(1)
            assert session.cancel_branch(2)
            await events_of(session)

        assert world.most_running == 1
        assert [model for model, _ in world.granted] == ["a", "d", "e"]


@pytest.mark.parametrize("leave_after_s", [0.0, 0.5, 1.5, 2.5])
async def test_leaving_in_any_phase_ends_everything(
    leave_after_s: float, autojump_clock: MockClock
) -> None:
    scripts = {"a": says("x"), "b": says("y", "z"), "j": says(5.0, letters(A=0.5, B=0.4))}
    async with open_world(scripts) as world:
        ask = ensemble("a", "b", strategy=Strategy.BEST_OF_N, judge="j")
        async with open_swarm(ask, world, world):
            await trio.sleep(leave_after_s)

        assert not world.running


async def test_a_session_can_be_ended_from_outside(autojump_clock: MockClock) -> None:
    async with (
        open_world({"a": says(50.0, "y")}) as world,
        open_swarm(ensemble("a"), world, world) as session,
    ):
        await trio.sleep(1)
        session.fail(RequestCancelled("by an operator"))
        with pytest.raises(RequestCancelled):
            await session.receive()

        await wait_all_tasks_blocked()
        assert not world.running


async def test_an_answer_that_takes_too_long_ends_as_it_is(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("x", 50.0, "y")}) as world:
        world.generation_timeout_s = 20.0
        outcome, _ = await hold(ensemble("a"), world)

        assert (outcome.text, outcome.finish_reason.value) == ("x", "length")


async def test_an_answer_of_which_nothing_came_in_time_is_late_and_not_empty(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says(30.0, "late"), "b": says("in time")}) as world:
        world.generation_timeout_s = 20.0
        outcome, _ = await hold(ensemble("a", "b"), world)

    late, other = outcome.rows
    assert (late.error_kind, late.error) == ("timeout", "no answer within 20 s")
    assert late.finish_reason is None
    assert other.ok
