"""Debates on the mock clock."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from lattice_actors.errors import BadRequest, ModelCrashed
from lattice_actors.generation import Job
from lattice_actors.swarm.asks import Agent, Debate, Manner
from lattice_actors.swarm.failure import SwarmFailed
from tests.actors.swarming import Script, hold, open_world, says, shown, text_shown

USER = ({"role": "user", "content": "why?"},)


def debate(*specs: str, **more: Any) -> Debate:  # noqa: ANN401 - fields of a debate
    agents = tuple(Agent(spec) for spec in specs)
    return attrs.evolve(Debate(agents, USER, judge="j"), **more)


def in_round(first: str, *later: str) -> Script:
    """Say one thing in each round."""

    def script(job: Job) -> list[str]:
        said = sum(message["role"] == "assistant" for message in shown(job))
        return [(first, *later)[said]]

    return script


async def test_agents_read_each_other_and_keep_what_they_saw(autojump_clock: MockClock) -> None:
    scripts = {"a": in_round("a1", "a2", "a3"), "b": in_round("b1", "b2", "b3")}
    async with open_world(scripts | {"j": says("the ", "end")}) as world:
        outcome, _ = await hold(debate("a", "b", rounds=3), world)

        first, second, third = [shown(job) for job in world.jobs_of("a")]
        assert first == USER
        # Appended to, never rewritten: what the engine has read is in its prefix cache.
        assert second[: len(first)] == first
        assert third[: len(second)] == second
        assert second[1] == {"role": "assistant", "content": "a1"}
        assert "b1" in second[2]["content"]
        assert "a1" not in second[2]["content"]
        assert "b2" in third[4]["content"]
        assert "b1" not in third[4]["content"]
        assert (outcome.text, outcome.model, outcome.rounds) == ("the end", "j", 3)
        rounds = [(row.stage, row.text) for row in outcome.rows]
        assert rounds == [(f"round {n}", f"{x}{n}") for n in (1, 2, 3) for x in "ab"]
        judged = world.jobs_of("j")[0]
        assert "a3" in text_shown(judged)
        assert "a2" not in text_shown(judged)
        assert (judged.sampling.temperature, judged.max_tokens) == (0.3, 1024)
        assert outcome.usage.completion_tokens == 8


async def test_an_agent_keeps_its_own_system_text_in_later_rounds(
    autojump_clock: MockClock,
) -> None:
    scripts = {"a": in_round("a1", "a2"), "b": in_round("b1", "b2"), "j": says("end")}
    async with open_world(scripts) as world:
        agents = (
            Agent("a", plain=False, system="doubt"),
            Agent("b", plain=False, messages=({"role": "user", "content": "how?"},)),
        )
        await hold(Debate(agents, USER, judge="j"), world)

        assert all(shown(job)[0]["content"] == "doubt" for job in world.jobs_of("a"))
        assert all(shown(job)[0]["content"] == "how?" for job in world.jobs_of("b"))


async def test_who_fails_is_a_row_and_its_last_answer_still_counts(
    autojump_clock: MockClock,
) -> None:
    def crashes(job: Job) -> Any:  # noqa: ANN401 - a script
        return ["c1"] if len(shown(job)) == 1 else [ModelCrashed("killed")]

    scripts = {"a": in_round("a1", "a2", "a3"), "b": in_round("b1", "b2", "b3"), "c": crashes}
    async with open_world(scripts | {"j": says("end")}) as world:
        outcome, _ = await hold(debate("a", "b", "c", rounds=3), world)

        assert [row.branch for row in outcome.rows] == [0, 1, 2, 3, 4, 5, 6, 7]
        assert outcome.rows[5].error_kind == "model_crashed"
        assert "c1" in text_shown(world.jobs_of("j")[0])


async def test_a_debate_of_one_ends_early_and_says_so(autojump_clock: MockClock) -> None:
    scripts = {"a": in_round("a1", "a2"), "b": says(ModelCrashed("killed")), "j": says("end")}
    async with open_world(scripts) as world:
        outcome, _ = await hold(debate("a", "b"), world)

        assert (outcome.text, outcome.rounds) == ("a1", 1)
        assert outcome.notes == ("the debate ended after round 1: nobody to answer",)
        assert not world.jobs_of("j")


async def test_when_all_fail_it_is_an_error(autojump_clock: MockClock) -> None:
    broken = says(ModelCrashed("killed"))
    async with open_world({"a": broken, "b": broken, "j": says("end")}) as world:
        with pytest.raises(SwarmFailed) as raised:
            await hold(debate("a", "b"), world)

        assert raised.value.kinds == {"model_crashed": 2}


async def test_a_debate_needs_two(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("x")}) as world:
        with pytest.raises(BadRequest, match="needs two"):
            await hold(debate("a", "a"), world)


async def test_without_a_judge_the_longest_last_answer_wins(autojump_clock: MockClock) -> None:
    async with open_world({"a": in_round("a1", "longer"), "b": in_round("b1", "b2")}) as world:
        outcome, _ = await hold(debate("a", "b"), world)

        assert outcome.text == "longer"
        assert outcome.verdict is not None
        assert "no judge" in outcome.verdict.rationale


async def test_a_long_transcript_is_cut_to_the_context_and_noted(autojump_clock: MockClock) -> None:
    scripts = {"a": in_round("a1", "a2"), "b": in_round("b" * 5000, "b2"), "j": says("end")}
    async with open_world(scripts) as world:
        world.context = 1000
        outcome, _ = await hold(debate("a", "b", manner=Manner(max_tokens=100)), world)

        asked = text_shown(world.jobs_of("a")[1])
        assert 1000 < len(asked) < 2500
        assert "round 2: 1 answers were shortened for a, to fit its context" in outcome.notes


async def test_max_parallel_holds_in_every_round(autojump_clock: MockClock) -> None:
    scripts = {name: in_round("1", "2", "3") for name in "abc"}
    async with open_world(scripts | {"j": says("end")}) as world:
        outcome, _ = await hold(debate("a", "b", "c", rounds=3, max_parallel=1), world)

        assert world.most_running == 1
        assert len(outcome.rows) == 9


async def test_an_agents_own_time_counts_from_the_start_of_its_round(
    autojump_clock: MockClock,
) -> None:
    def slows_down(job: Job) -> Any:  # noqa: ANN401 - a script
        return [4.0, "b1"] if len(shown(job)) == 1 else [8.0, "b2"]

    async with open_world({"a": in_round("a1", "a2"), "b": slows_down, "j": says("end")}) as world:
        agents = (Agent("a"), Agent("b", plain=False, timeout_s=6.0))
        outcome, _ = await hold(Debate(agents, USER, judge="j"), world)

        assert [row.error_kind for row in outcome.rows] == [None, None, None, "timeout"]
        assert outcome.rows[3].latency_ms == 6000
