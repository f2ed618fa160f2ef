"""Penalties and biases of single streams, in the batch of a real (tiny) model."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.frames import End, Gen
from lattice_actors.engine.penalties import (
    AnswerPenalties,
    LogitBias,
    RepetitionPenalty,
    processors_of,
)
from tests.engine.batches import Answers, Loaded, alone, failing

VOCAB = 30
tokens = st.lists(st.integers(0, VOCAB - 1), max_size=12)
sizes = st.floats(-2, 2, width=32)


def row() -> mx.array:
    return mx.random.normal((1, VOCAB), key=mx.random.key(3)) * 3


def values(array: mx.array) -> list[float]:
    found: list[float] = np.array(array)[0].tolist()
    return found


@given(prompt=tokens, said=tokens, presence=sizes, frequency=sizes)
def test_presence_and_frequency_count_the_answer_alone(
    prompt: list[int], said: list[int], presence: float, frequency: float
) -> None:
    penalise = AnswerPenalties(len(prompt), presence, frequency)

    got = values(penalise(mx.array(prompt + said, dtype=mx.int32), row()))

    assert got == pytest.approx(
        [
            logit - said.count(token) * frequency - (token in said) * presence
            for token, logit in enumerate(values(row()))
        ],
        abs=1e-4,
    )


@given(seen=tokens.filter(len), penalty=st.floats(0.01, 100))
def test_repetition_counts_everything_once(seen: list[int], penalty: float) -> None:
    got = values(RepetitionPenalty(penalty)(mx.array(seen), row()))

    assert got == pytest.approx(
        [
            logit if token not in seen else logit / penalty if logit > 0 else logit * penalty
            for token, logit in enumerate(values(row()))
        ],
        rel=1e-4,
    )


@given(bias=st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-100, 100), min_size=1))
def test_a_bias_is_added(bias: dict[int, float]) -> None:
    got = values(LogitBias.of(bias)(mx.array([1]), row()))

    wanted = [logit + bias.get(token, 0.0) for token, logit in enumerate(values(row()))]
    assert got == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", [mx.float16, mx.bfloat16, mx.float32])
def test_the_kind_of_number_stays(kind: mx.Dtype) -> None:
    logits = row().astype(kind)

    for process in (RepetitionPenalty(1.5), AnswerPenalties(1, 1, 1), LogitBias.of({1: 2.0})):
        assert process(mx.array([1, 2]), logits).dtype == kind


def test_who_asks_for_nothing_gets_no_processor() -> None:
    assert processors_of(Gen(rid=1, max_tokens=1, temperature=0.0), 3) == []


# --- in the batch -------------------------------------------------------------------------------

ASKED: list[dict[str, Any]] = [
    {"presence_penalty": 2.0},
    {"frequency_penalty": 2.0},
    {"frequency_penalty": -2.0},
    {"repetition_penalty": 1.8},
    {"presence_penalty": 1.0, "frequency_penalty": 1.0, "repetition_penalty": 1.2},
    {"logit_bias": {65: 8.0, 70: -100.0}},
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_only_the_stream_that_asks_is_changed(
    loaded: Loaded, solo: dict[int, str], asked: dict[str, Any]
) -> None:
    answers = Answers(loaded)
    answers.add(1)
    answers.step_until_text(1)
    answers.add(3, **asked)
    answers.add(2)
    answers.finish()

    assert (answers.text[1], answers.text[2]) == (solo[1], solo[2])
    assert answers.text[3] == alone(loaded, 3, **asked) != solo[3]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("step", [3, 9])
def test_a_failed_step_changes_nothing(
    loaded: Loaded, asked: dict[str, Any], step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = Answers(loaded, make_generator=failing({step}))
    answers.add(3, **asked)
    answers.finish()

    assert answers.text[3] == alone(loaded, 3, **asked)
    assert "RuntimeError" in capsys.readouterr().err


def test_a_forbidden_token_never_comes_and_a_wanted_one_always_does(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    vocab: dict[str, int] = loaded.tokenizer.get_vocab()
    answers = Answers(loaded)
    answers.add(1, logit_bias={vocab["x"]: 100.0})
    answers.add(2, logit_bias={token: -100.0 for text, token in vocab.items() if "w" in text})
    answers.finish()

    assert answers.text[1] == "x" * 24
    assert "w" in solo[2]
    assert "w" not in answers.text[2]


def test_frequency_spreads_the_tokens(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(3, max_tokens=100, frequency_penalty=2.0)
    answers.add(1, prompt=loaded.tokenizer.encode("the user is a " * 4), max_tokens=100)
    answers.finish()

    assert isinstance(answers.endings[3], End)
    assert len(set(answers.text[3])) > len(set(answers.text[1]))
