"""Pipelines on the mock clock."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.errors import ModelCrashed
from lattice_actors.generation import Job
from lattice_actors.swarm.asks import Manner, Pipeline, Step
from lattice_actors.swarm.events import AnswerPiece
from lattice_actors.swarm.failure import SwarmFailed
from tests.actors.swarming import hold, open_world, says, shown

REQUEST = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"})


def pipeline(*steps: Step, **more: Any) -> Pipeline:  # noqa: ANN401 - fields of a pipeline
    return Pipeline(steps, REQUEST, **more)


async def test_each_step_sees_what_its_templates_name(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("first"), "b": says("second"), "c": says("third")}) as world:
        steps = (
            Step("one", "a"),
            Step("two", "b", user="{{one}}|{{previous}}|{{three}}"),
            Step("three", "c", system="after {{two}} and {{one}}"),
        )
        outcome, _ = await hold(pipeline(*steps), world)

        assert outcome.text == "third"
        assert shown(world.jobs_of("a")[0]) == REQUEST
        assert shown(world.jobs_of("b")[0]) == (
            {"role": "user", "content": "first|first|{{three}}"},
        )
        third = ({"role": "system", "content": "after second and first"}, REQUEST[1])
        assert shown(world.jobs_of("c")[0]) == third
        assert [(row.stage, row.text) for row in outcome.rows] == [
            ("one", "first"),
            ("two", "second"),
            ("three", "third"),
        ]


async def test_what_a_step_wrote_is_not_a_template(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("{{two}} {{previous}}"), "b": says("ok")}) as world:
        await hold(pipeline(Step("one", "a"), Step("two", "b", user="<{{one}}>")), world)

        content = shown(world.jobs_of("b")[0])[0]["content"]
        assert content == "<{{two}} {{previous}}>"


async def test_only_the_last_step_is_the_answer_and_it_streams(autojump_clock: MockClock) -> None:
    async with open_world({"a": says("draft"), "b": says("fi", "nal")}) as world:
        outcome, events = await hold(pipeline(Step("one", "a"), Step("two", "b")), world)

        assert [e.text for e in events if isinstance(e, AnswerPiece)] == ["fi", "nal"]
        assert outcome.usage.completion_tokens == 3


async def test_the_manner_of_the_request_is_the_default_of_every_step(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says("x")}) as world:
        steps = (Step("one", "a"), Step("two", "a", manner=Manner(max_tokens=5)))
        await hold(pipeline(*steps, manner=Manner(max_tokens=50, temperature=0.1)), world)

        jobs = world.jobs_of("a")
        assert [(job.max_tokens, job.sampling.temperature) for job in jobs] == [(50, 0.1), (5, 0.1)]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (says(ModelCrashed("killed")), "model_crashed"),
        (says("  "), "empty_response"),
        (says(100.0, "x"), "timeout"),
    ],
)
async def test_a_step_that_fails_ends_it_with_what_was_done(
    script: Any,  # noqa: ANN401 - any script
    kind: str,
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says("fine"), "b": script, "c": says("never")}) as world:
        steps = (Step("one", "a"), Step("two", "b"), Step("three", "c"))
        with pytest.raises(SwarmFailed, match="step 'two' failed") as raised:
            await hold(pipeline(*steps, timeout_s=60.0), world)

        assert [row.ok for row in raised.value.rows] == [True, False]
        assert (raised.value.step, raised.value.rows[1].error_kind) == ("two", kind)
        assert not world.jobs_of("c")


async def test_a_step_without_a_model_fails_before_anything_is_paid_for(
    autojump_clock: MockClock,
) -> None:
    async with open_world({"a": says("fine")}) as world:
        with pytest.raises(SwarmFailed, match="step 'two' failed: no model"):
            await hold(pipeline(Step("one", "a"), Step("two", "nobody")), world)

        assert not world.granted


async def test_steps_run_one_after_the_other(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    def script(job: Job) -> list[str]:
        starts.append(trio.current_time())
        return ["x", "y"]

    async with open_world({"a": script}) as world:
        await hold(pipeline(Step("one", "a"), Step("two", "a")), world)

        assert starts[1] == starts[0] + 2
