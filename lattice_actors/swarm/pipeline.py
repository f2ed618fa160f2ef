"""One step after the other; each may use what those before it wrote."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.generation import Delta, JsonObject

from .asks import Pipeline, Step
from .branch import Branch, missed
from .crew import Crew, with_system
from .events import AnswerPiece, Outcome
from .failure import SwarmFailed
from .roster import merged
from .templates import substitute


def step_messages(
    step: Step, request: Sequence[JsonObject], outputs: dict[str, str], previous: str
) -> tuple[JsonObject, ...]:
    """Return what *step* is shown.

    With a `user` text it sees only that, else the request. Its `system` text replaces the
    request's, which it keeps otherwise.
    """
    system = None if step.system is None else substitute(step.system, outputs, previous)
    if step.user is None:
        shown: tuple[JsonObject, ...] = tuple(request)
    else:
        shown = ({"role": "user", "content": substitute(step.user, outputs, previous)},)
    return shown if system is None else with_system(system, shown)


async def run_pipeline(ask: Pipeline, crew: Crew) -> Outcome:
    """Run the steps. The last one's text is the answer, and is told as it comes.

    Raises:
        QueueRefused: there is no room for all steps.
        SwarmFailed: a step failed or wrote nothing; `rows` are those until then. A step for
            which there is no model fails before the first one begins.
    """
    branches = await _line_up(ask, crew, crew.deadline(ask.timeout_s))
    last = branches[-1]
    outputs: dict[str, str] = {}
    previous = text = ""

    def heard(branch: Branch, delta: Delta) -> None:
        if branch is last and delta.text:
            crew.feed.tell(AnswerPiece(delta.text))

    tickets = [branch.ticket for branch in branches]
    async with crew.admission.gang(tickets[:1], tickets[1:]):
        for step, branch in zip(ask.steps, branches, strict=True):
            messages = step_messages(step, ask.messages, outputs, previous)
            if branch.later:
                crew.fill(branch.ticket, branch.route, messages, merged(step.manner, ask.manner))
            row = await crew.run(branch, heard)
            if not row.ok:
                raise _failed(step, crew)
            outputs[step.name] = previous = text = row.text
    row = crew.rows[-1]
    assert row.finish_reason is not None  # it is ok
    return Outcome("pipeline", text, row.model, crew.rows, crew.usage, row.finish_reason)


async def _line_up(ask: Pipeline, crew: Crew, deadline: float) -> list[Branch]:
    """Resolve all steps before any of them is paid for."""
    routes: list[Route] = []
    for number, step in enumerate(ask.steps):
        route = await crew.host.route(step.spec, step_messages(step, ask.messages, {}, ""))
        if isinstance(route, NoRoute):
            crew.end(missed(number, step.spec, route, step.name))
            raise _failed(step, crew)
        routes.append(route)
    branches: list[Branch] = []
    for number, (step, route) in enumerate(zip(ask.steps, routes, strict=True)):
        manner = merged(step.manner, ask.manner)
        ticket = crew.host.ticket(route, step_messages(step, ask.messages, {}, ""), manner)
        branches.append(
            Branch(
                number,
                step.spec,
                route,
                ticket,
                stage=step.name,
                later=number > 0,
                scope=trio.CancelScope(deadline=deadline),
            )
        )
    crew.enlist(branches)
    return branches


def _failed(step: Step, crew: Crew) -> SwarmFailed:
    row = crew.rows[-1]
    message = f"step {step.name!r} failed: {row.error}"
    return SwarmFailed(message, crew.rows, step=step.name)
