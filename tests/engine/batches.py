"""A batch on a tiny model, and what its streams get."""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from mlx_lm.generate import BatchGenerator

from lattice_actors.engine.batch import Batch
from lattice_actors.engine.frames import End, Err, Gen, Piece
from lattice_actors.engine.pacing import Pacing
from lattice_actors.engine.prompts import Prepared
from lattice_actors.engine.sampling import Processor

PROMPTS = {1: "What is the capital of", 2: "hello world", 3: "the user is a " * 4, 4: "a"}


@attrs.frozen
class Loaded:
    """What a batch needs of a loaded model."""

    model: Any
    tokenizer: Any
    eos_token_ids: list[int]


class Answers:
    """Runs a batch and keeps what each stream got."""

    def __init__(self, loaded: Loaded, max_streams: int = 8, **options: Any) -> None:
        self.loaded = loaded
        self.pacing = Pacing(512, options.pop("target_step_s", 0.0), 0.01, 2000.0)
        self.batch = Batch(loaded, self.pacing, max_streams, **options)
        self.text: dict[int, str] = {}
        self.tokens: dict[int, int] = {}
        self.endings: dict[int, End | Err] = {}
        self.prefilled: list[int] = []

    def add(self, rid: int, processors: Sequence[Processor] = (), **fields: Any) -> None:
        tokenizer = self.loaded.tokenizer
        prompt = fields.pop("prompt", None) or tokenizer.encode(PROMPTS[rid])
        fields = {"max_tokens": 24, "temperature": 0.0} | fields
        gen = Gen(rid=rid, tokens=prompt, **fields)
        self.batch.add(Prepared(gen, prompt, seed=gen.seed or 0), processors)

    def step(self) -> list[Piece]:
        outcome = self.batch.step()
        self.prefilled.append(outcome.prefilled)
        for piece in outcome.pieces:
            self._gain(piece.rid, piece.text, piece.tokens)
        for ending in outcome.endings:
            assert ending.rid not in self.endings
            self.endings[ending.rid] = ending
            if isinstance(ending, End):
                self._gain(ending.rid, ending.text, ending.tokens)
        return outcome.pieces

    def finish(self) -> None:
        while self.batch:
            self.step()

    def step_until_text(self, rid: int) -> None:
        while not self.text.get(rid):
            self.step()

    def _gain(self, rid: int, text: str, tokens: int) -> None:
        self.text[rid] = self.text.get(rid, "") + text
        self.tokens[rid] = self.tokens.get(rid, 0) + tokens


def alone(loaded: Loaded, rid: int, **fields: Any) -> str:
    answers = Answers(loaded)
    answers.add(rid, **fields)
    answers.finish()
    return answers.text[rid]


def failing(steps: set[int]) -> Callable[..., BatchGenerator]:
    """A generator whose `next` raises after it has worked, at these steps of the whole test."""
    count = 0

    class Failing(BatchGenerator):
        def next(self) -> Any:
            nonlocal count
            count += 1
            result = super().next()  # type: ignore[no-untyped-call]  # mlx-lm's
            if count in steps:
                raise RuntimeError(f"step {count}")
            return result

    return Failing
