"""Carry scenarios out against several servers, in turn: what slows the machine slows all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import attrs

from .arms import Arm
from .bare_player import BarePlayer
from .player import Player
from .scenarios import Deck, Round, Scenario, Sizes

WARM_TOKENS = 16  # of an answer in a round that only warms up


@attrs.frozen
class Plan:
    """How often, and from where the prompts are drawn."""

    sizes: Sizes
    rounds: int
    warm_up: int  # requests to each model; each scenario has a round of its own on top
    seed: int


@attrs.frozen
class Play:
    """One scenario against one server."""

    scenario: Scenario
    arm: Arm
    rounds: tuple[Round, ...]
    lacks: str | None = None  # why the server was left out of it


class Plays(Protocol):
    """What plays to a server, or takes the place of one."""

    @property
    def arm(self) -> Arm: ...

    async def lacks(self, scenario: Scenario) -> str | None: ...

    async def warm_up(self, sizes: Sizes, requests: int, seed: int) -> int: ...

    async def play(self, scenario: Scenario, deck: Deck) -> Round: ...

    async def aclose(self) -> None: ...


T = TypeVar("T")
Progress = Callable[[str], None]


def silent(text: str) -> None:
    del text


async def run_suite(
    arms: Sequence[Arm], scenarios: Sequence[Scenario], plan: Plan, progress: Progress = silent
) -> list[Play]:
    """Play each scenario *rounds* times against each arm, turn by turn.

    A server that lacks what a scenario needs is left out of it.

    Raises:
        ArmFailed: a server did not answer in the warm-up.
        BareFailed: the bare loop did not.
    """
    players: list[Plays] = [BarePlayer(arm) if arm.bare else Player(arm) for arm in arms]
    plays = list[Play]()
    try:
        overheads = [await one.warm_up(plan.sizes, plan.warm_up, plan.seed) for one in players]
        for scenario in scenarios:
            able = list[Plays]()
            lacking = dict[str, str]()
            for player in players:
                lack = await player.lacks(scenario)
                if lack is None:
                    able.append(player)
                else:
                    lacking[player.arm.name] = lack
            rounds = {player.arm.name: list[Round]() for player in players}
            for number in range(plan.rounds + 1):  # round 0 is the warm-up of the scenario
                sizes = plan.sizes if number else warm(plan.sizes)
                for player in turned(able, number):
                    progress(f"{scenario.name} {number}/{plan.rounds} {player.arm.name}")
                    # All get the same texts, so that they are pairs; the first one's template
                    # decides about their length.
                    seed = f"{plan.seed} {scenario.name} {number}{salt(arms, player.arm)}"
                    played = await player.play(scenario, Deck(sizes, seed, overheads[0]))
                    if number:
                        rounds[player.arm.name].append(played)
            plays += [
                Play(scenario, arm, tuple(rounds[arm.name]), lacking.get(arm.name)) for arm in arms
            ]
    finally:
        for player in reversed(players):
            await player.aclose()
    return plays


def warm(sizes: Sizes) -> Sizes:
    """Return sizes of a round that is not counted: all that is asked for, but short answers."""
    return attrs.evolve(
        sizes,
        max_tokens=min(sizes.max_tokens, WARM_TOKENS),
        running_tokens=min(sizes.running_tokens, WARM_TOKENS),
    )


def turned(players: Sequence[T], number: int) -> list[T]:
    """Return them so that each is first in its turn: nobody always plays after the same one."""
    at = number % len(players) if players else 0
    return [*players[at:], *players[:at]]


def salt(arms: Sequence[Arm], arm: Arm) -> str:
    """Return what is different for an arm whose server plays before under another name.

    Its prefix cache would know the prompts.
    """
    before = arms[: arms.index(arm)]
    same = sum(other.target.base_url == arm.target.base_url for other in before)
    return f" {same}" if same else ""
