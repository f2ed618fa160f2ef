"""The part of `lattice-trio bench` that plays scenarios to one server or to several."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Annotated

import attrs
import trio
from cyclopts import Parameter

from .arms import FIRST, Arm, arms
from .bare_player import bare_arm
from .failures import below_one
from .figures import Result, result
from .html_report import page
from .load import Target
from .report import document
from .scenarios import Scenario, Sizes, catalogue, choose
from .suite import Plan, run_suite
from .suite_report import suite_text, suite_values

DEFAULT = "single,streams"  # when servers are named, but no scenario is


class BadSize(ValueError):
    """A size is below one."""


@Parameter(name="*")  # its fields are flags of the command, without a prefix
@attrs.frozen
class SuiteOptions:
    """Flags that only scenarios have."""

    scenario: Annotated[
        str | None, Parameter(help="Scenarios to play: single,burst; all; list prints them.")
    ] = None
    against: Annotated[
        list[str], Parameter(help="Another server: name=url[,model[,second]]. Repeatable.")
    ] = attrs.field(factory=list[str])
    name: Annotated[str, Parameter(help="What the report calls the server of --base-url.")] = FIRST
    second_model: Annotated[
        str | None, Parameter(help="The other model, for the scenarios alternate and crowd.")
    ] = None
    rounds: Annotated[int, Parameter(help="Rounds of each scenario, in turn over servers.")] = 10
    html: Annotated[Path | None, Parameter(help="Write a report with plots here.")] = None
    seed: Annotated[
        int | None, Parameter(help="Of the prompts; without it, new ones each time.")
    ] = None
    prefix_tokens: Annotated[int, Parameter(help="Length of the shared system prompt.")] = 600
    turns: Annotated[int, Parameter(help="Turns of the conversation.")] = 4
    long_tokens: Annotated[int, Parameter(help="Length of the long prompt.")] = 2000
    running: Annotated[int, Parameter(help="Streams beside which it is read.")] = 4
    running_tokens: Annotated[int, Parameter(help="Length of each of their answers.")] = 128
    burst: Annotated[int, Parameter(help="Requests of the burst.")] = 64
    aborts: Annotated[int, Parameter(help="Clients that leave in the storm.")] = 8
    abort_tokens: Annotated[int, Parameter(help="Length of the answers they leave.")] = 200
    samples: Annotated[int, Parameter(help="Samples of the swarm.")] = 4

    @property
    def wanted(self) -> bool:
        """Say whether scenarios are to be played at all."""
        return bool(self.scenario or self.against or self.html)

    def job(
        self,
        target: Target,
        concurrency: tuple[int, ...],
        max_tokens: int,
        prompt_tokens: int,
        warm_up: int,
        limit: Path | None = None,
    ) -> Job:
        """Return what is to be measured.

        Raises:
            BadSize, BadArm, UnknownScenario: the flags make no sense.
        """
        sizes = Sizes(
            concurrency=concurrency,
            max_tokens=max_tokens,
            prompt_tokens=prompt_tokens,
            prefix_tokens=self.prefix_tokens,
            turns=self.turns,
            long_tokens=self.long_tokens,
            running=self.running,
            running_tokens=self.running_tokens,
            burst=self.burst,
            aborts=self.aborts,
            abort_tokens=self.abort_tokens,
            samples=self.samples,
        )
        counts = {name: size for name, size in attrs.asdict(sizes).items() if name != "concurrency"}
        if fault := below_one(**counts, rounds=self.rounds):
            raise BadSize(fault)
        seed = random.SystemRandom().randrange(10**6) if self.seed is None else self.seed
        models = [target.model, *([self.second_model] if self.second_model else [])]
        compared = arms(target, models, self.against, self.name, os.environ)
        return Job(
            [*compared, bare_arm(limit)] if limit else compared,
            choose(self.scenario or DEFAULT, sizes),
            Plan(sizes, self.rounds, warm_up, seed),
            self.html,
        )


NO_SUITE = SuiteOptions()


@attrs.frozen
class Job:
    """What to measure, and where the report with plots goes."""

    arms: list[Arm]
    scenarios: list[Scenario]
    plan: Plan
    html: Path | None

    def run(self, json: Path | None) -> int:
        """Measure, and write the reports; 1 if nothing could be measured.

        Raises, in a group or not: what `run_suite` raises.
        """
        plays = trio.run(run_suite, self.arms, self.scenarios, self.plan, progress)
        results = list[Result]()
        for scenario in self.scenarios:
            played = [play for play in plays if play.scenario is scenario]
            rounds = {play.arm.name: play.rounds for play in played if play.lacks is None}
            lacks = {play.arm.name: play.lacks for play in played if play.lacks is not None}
            results.append(result(scenario, rounds, lacks))
        sys.stdout.write(suite_text(results))
        shown = [
            {
                "name": arm.name,
                "base_url": arm.target.base_url,
                "models": [target.model for target in arm.targets],
            }
            for arm in self.arms
        ]
        asked = {"arms": shown, "plan": self.plan}
        if json is not None:
            json.write_text(document("suite", **asked, results=suite_values(results)))
        if self.html is not None:
            self.html.write_text(page(self.arms, self.plan, results), encoding="utf-8")
        return 0 if any(one.figures for one in results) else 1


def progress(text: str) -> None:
    """Show what is being played, on one line, where somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def listing() -> str:
    """Return all scenarios with a line about each."""
    known = catalogue(Sizes())
    width = max(map(len, known))
    return "".join(f"{name:{width}}  {known[name].summary}\n" for name in known)
