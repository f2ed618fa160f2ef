"""The bare mlx-lm loop in the place of a server: what the machine can do without one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import attrs
import trio

from .answers import Answer
from .arms import Arm
from .limit import BareLoop, BareRun, bare_loop
from .load import Target
from .player import play_waves
from .scenarios import Deck, Round, Scenario, Sizes, Wave
from .targets import BARE


def bare_arm(model_dir: Path) -> Arm:
    """Return the arm of the loop on the model in *model_dir*."""
    return Arm(BARE, (Target("mlx-lm in a bare loop", str(model_dir)),), bare=True)


@attrs.define(eq=False)
class BarePlayer:
    """Plays chats without a history, those of a wave in one batch. Closed by `aclose`."""

    arm: Arm
    _stack: AsyncExitStack = attrs.field(init=False, factory=AsyncExitStack)
    _loop: BareLoop = attrs.field(init=False)

    async def lacks(self, scenario: Scenario) -> str | None:
        """Say why it cannot play *scenario*; None if it can."""
        return None if scenario.limited else "it takes chats without a history only"

    async def warm_up(self, sizes: Sizes, requests: int, seed: int) -> int:
        """Start the loop; return the tokens of a prompt beyond its drawn words.

        Raises:
            BareFailed: it did not come up.
        """
        self._loop = await self._stack.enter_async_context(bare_loop(self.arm.target.model))
        deck, overhead = Deck(sizes, f"{seed} warm-up"), 0
        for _ in range(max(1, requests)):
            text = deck.text(sizes.prompt_tokens)
            run = await self._loop.run([text], sizes.max_tokens)
            if run.prompt_tokens is not None:
                overhead = max(0, run.prompt_tokens - sizes.prompt_tokens)
        return overhead

    async def play(self, scenario: Scenario, deck: Deck) -> Round:
        """Play one round."""
        return Round(await play_waves(scenario.shape(deck), self.send))

    async def send(self, wave: Wave) -> list[Answer]:
        """Decode the answers to a wave in one batch. Raises `BareFailed`."""
        texts = [request.messages[-1]["content"] for request in wave.requests]
        began = trio.current_time()
        run = await self._loop.run(texts, max(request.max_tokens for request in wave.requests))
        return answers(run, began)

    async def aclose(self) -> None:
        await self._stack.aclose()


def answers(run: BareRun, began: float) -> list[Answer]:
    """Return what a client would have noted, had it begun at *began* (Trio clock)."""
    return [
        Answer(
            began,
            began + run.seconds,
            ttft_s=ttft_s,
            gaps_s=[after - before for before, after in pairwise(texts_at_s)],
            events=len(texts_at_s),
            tokens=tokens,
            prompt_tokens=run.prompt_tokens,
            done=True,
            status=200,
        )
        for ttft_s, texts_at_s, tokens in zip(
            run.ttft_s, run.texts_at_s, run.tokens_each, strict=True
        )
    ]
