"""One bad stream in a batch of a real (tiny) model: its neighbours do not notice.

Hostile token ids and parameters out of range never get here (`test_prompts.py`); what is at the
edge of its range does.
"""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import pytest

from lattice_actors.engine.frames import End, Err
from lattice_actors.engine.sampling import Processor, SeededSampler
from tests.engine.batches import Answers, Loaded, alone, failing

NEIGHBOURS = (1, 2, 4)  # greedy
BAD = 3
STEPS = 30  # at each of which a step fails once
LONG = STEPS  # tokens: the last step of such an answer is the 31st of the generator
DRAWN: dict[str, Any] = {"temperature": 1.0, "seed": 42, "top_p": 0.95}


def beside(loaded: Loaded, *processors: Processor, **how: Any) -> Answers:
    """Play the bad stream among its neighbours, all to their ends."""
    answers = Answers(loaded)
    for rid in NEIGHBOURS:
        answers.add(rid)
    answers.add(BAD, processors, **how)
    answers.finish()
    return answers


def unharmed(answers: Answers, solo: dict[int, str]) -> bool:
    return all(answers.text[rid] == solo[rid] for rid in NEIGHBOURS)


# --- what raises ---------------------------------------------------------------------------------


def raising_at(call: int) -> Processor:
    calls = 0

    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        nonlocal calls
        calls += 1
        if calls == call:
            raise ValueError(f"call {call}")
        return logits

    return process


@pytest.mark.parametrize("call", [1, 2, 4, 23, 24])
def test_a_processor_that_raises_ends_its_own_stream_only(
    loaded: Loaded, solo: dict[int, str], call: int
) -> None:
    answers = beside(loaded, raising_at(call))

    ending = answers.endings[BAD]
    assert isinstance(ending, Err)
    assert ending.text == f"ValueError: call {call}"
    assert unharmed(answers, solo)


@pytest.mark.parametrize("call", [1, 2, 4, 23, 24])
def test_a_sampler_that_raises_ends_its_own_stream_only(
    loaded: Loaded, solo: dict[int, str], call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = SeededSampler.__call__

    def draw(sampler: SeededSampler, logprobs: mx.array) -> mx.array:
        if sampler.seed == 13 and sampler.drawn == call - 1:
            raise ArithmeticError(f"draw {call}")
        return drawn(sampler, logprobs)

    monkeypatch.setattr(SeededSampler, "__call__", draw)
    answers = beside(loaded, temperature=1.0, seed=13)

    ending = answers.endings[BAD]
    assert isinstance(ending, Err)
    assert ending.text == f"ArithmeticError: draw {call}"
    assert unharmed(answers, solo)


# --- what does not raise -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("how", [{}, {"temperature": 1.0, "seed": 3}, {"logprobs": 5}])
def test_logits_that_are_no_numbers_spoil_their_own_stream_only(
    loaded: Loaded, solo: dict[int, str], value: float, how: dict[str, Any]
) -> None:
    answers = beside(loaded, lambda _, logits: mx.full(logits.shape, value), **how)

    assert BAD in answers.endings
    assert unharmed(answers, solo)


@pytest.mark.parametrize(
    "how",
    [
        {"temperature": 2.0, "seed": 0},
        {"temperature": 1e-6, "seed": 2**63},
        {"temperature": 1.0, "seed": 1, "top_k": 289},
        {"temperature": 1.0, "seed": 1, "top_k": 290},
        {"temperature": 1.0, "seed": 1, "top_p": 1e-9},
        {"temperature": 1.0, "seed": 1, "min_p": 1.0},
        {"temperature": 1.0, "seed": 1, "min_p": 1e-12, "top_p": 1.0, "top_k": 1},
        {"presence_penalty": -2.0, "frequency_penalty": 2.0},
        {"repetition_penalty": 0.01},
        {"logit_bias": {0: 100.0, 289: -100.0}},
    ],
    ids=str,
)
def test_parameters_at_their_edges_change_their_own_stream_only(
    loaded: Loaded, solo: dict[int, str], how: dict[str, Any]
) -> None:
    answers = beside(loaded, **how)

    ending = answers.endings[BAD]
    assert isinstance(ending, End)
    assert ending.completion_tokens <= 24
    assert unharmed(answers, solo)


# --- a step that fails ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(loaded: Loaded) -> dict[int, str]:
    """What each stream says alone, when nothing fails."""
    greedy = {rid: alone(loaded, rid, max_tokens=LONG) for rid in (1, 2)}
    return greedy | {BAD: alone(loaded, BAD, max_tokens=LONG, **DRAWN)}


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_after_a_failed_step_all_answers_go_on_as_if_nothing_had_been(
    loaded: Loaded, whole: dict[int, str], step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = Answers(loaded, make_generator=failing({step}))
    answers.add(1, max_tokens=LONG)
    answers.add(2, max_tokens=LONG)
    answers.add(BAD, max_tokens=LONG, **DRAWN)
    answers.finish()

    assert answers.text == whole
    assert answers.tokens == dict.fromkeys((1, 2, BAD), LONG)
    assert f"RuntimeError: step {step}" in capsys.readouterr().err


@pytest.mark.parametrize("step", [1, 2, 9, STEPS])
def test_a_failed_step_hurts_no_answer_that_grew_from_a_kept_prefix(
    loaded: Loaded, whole: dict[int, str], step: int
) -> None:
    answers = Answers(loaded, make_generator=failing({step + STEPS}), prefix_cache_bytes=10**7)
    answers.add(1, max_tokens=LONG)
    answers.finish()
    answers.endings.clear()
    answers.text.clear()
    answers.add(1, max_tokens=LONG)
    answers.add(2, max_tokens=LONG)
    answers.finish()

    assert answers.text == {1: whole[1], 2: whole[2]}
