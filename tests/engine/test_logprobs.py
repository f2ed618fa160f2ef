"""Log-probabilities of the tokens of single streams, in the batch of a real (tiny) model."""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lattice_actors.engine.frames import End, Gen, TokenLogprob
from lattice_actors.engine.logprobs import LEAST, Logprobs, best_of
from lattice_actors.engine.token_bytes import TokenBytes
from tests.engine.batches import PROMPTS, Answers, Loaded, failing

STEERED: list[dict[str, Any]] = [
    {},
    {"temperature": 1.3, "seed": 5, "top_p": 0.5},
    {"presence_penalty": 2.0, "logit_bias": {70: 30.0}},
]


class Told(Answers):
    """Also keeps what streams told of their tokens."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.told: dict[int, list[TokenLogprob]] = {}

    def step(self) -> Any:
        outcome = self.batch.step()
        for piece in outcome.pieces:
            self._gain(piece.rid, piece.text, piece.tokens)
            self.told.setdefault(piece.rid, []).extend(piece.logprobs)
            assert len(piece.logprobs) in (0, piece.tokens)
        for ending in outcome.endings:
            self.endings[ending.rid] = ending
            assert isinstance(ending, End)
            self._gain(ending.rid, ending.text, ending.tokens)
            self.told.setdefault(ending.rid, []).extend(ending.logprobs)
        return outcome.pieces


def by_hand(loaded: Loaded, prompt: str, answer: list[int]) -> np.ndarray[Any, Any]:
    """The model's log-probabilities before each token of the answer, read in one pass."""
    before = loaded.tokenizer.encode(prompt)
    logits = loaded.model(mx.array([before + answer]))[0, len(before) - 1 : -1]
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))


def ids_of(loaded: Loaded, told: list[TokenLogprob]) -> list[int]:
    bytes_of = TokenBytes(loaded.tokenizer)
    ids = {bytes_of(token): token for token in loaded.tokenizer.get_vocab().values()}
    return [ids[each.token] for each in told]


@pytest.mark.parametrize("how", STEERED, ids=str)
def test_they_are_the_models_own_whatever_steers_the_answer(
    loaded: Loaded, solo: dict[int, str], how: dict[str, Any]
) -> None:
    answers = Told(loaded)
    answers.add(2)
    answers.add(1, logprobs=4, **how)
    answers.add(3)
    answers.finish()

    told = answers.told[1]
    ids = ids_of(loaded, told)
    rows = by_hand(loaded, PROMPTS[1], ids)
    assert len(told) == 24
    assert b"".join(each.token for each in told).decode() == answers.text[1]
    for row, token, each in zip(rows, ids, told, strict=True):
        assert each.logprob == pytest.approx(float(row[token]), abs=1e-3)
        assert [value for _, value in each.top] == pytest.approx(
            sorted(map(float, row), reverse=True)[:4], abs=1e-3
        )
    assert (answers.text[2], answers.text[3]) == (solo[2], solo[3])
    assert answers.told[2] == []


@pytest.mark.parametrize("how", STEERED, ids=str)
@pytest.mark.parametrize("step", [3, 8, 20])
def test_a_failed_step_neither_loses_nor_repeats_one(
    loaded: Loaded, how: dict[str, Any], step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = Told(loaded, make_generator=failing({step}))
    answers.add(1, logprobs=0, **how)
    answers.finish()
    calm = Told(loaded)
    calm.add(1, logprobs=0, **how)
    calm.finish()

    assert [each.token for each in answers.told[1]] == [each.token for each in calm.told[1]]
    assert [each.logprob for each in answers.told[1]] == pytest.approx(
        [each.logprob for each in calm.told[1]], abs=1e-3
    )
    assert capsys.readouterr().err


def test_text_that_is_held_back_keeps_its_tokens(loaded: Loaded, solo: dict[int, str]) -> None:
    stop = solo[1][7:12]
    answers = Told(loaded)
    answers.add(1, stop=[solo[1][3:6] + "never", stop], logprobs=0)
    answers.finish()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert len(answers.told[1]) == ending.completion_tokens == answers.tokens[1]
    spelled = b"".join(each.token for each in answers.told[1]).decode()
    assert spelled.startswith(answers.text[1] + stop)


def test_a_character_in_parts_has_an_entry_for_each(loaded: Loaded) -> None:
    vocab = loaded.tokenizer.get_vocab()
    parts = [vocab[letter] for letter in "â\u0124¬"]  # GPT-2's letters for the bytes of a euro
    answers = Told(loaded)
    wanted = dict.fromkeys(parts, 100.0)
    answers.add(1, max_tokens=200, temperature=1.0, seed=3, logit_bias=wanted, logprobs=0)
    answers.finish()

    told = answers.told[1]
    assert len(told) == 200
    spelled = b"".join(each.token for each in told)
    assert answers.text[1].count("\u20ac") == spelled.count("\u20ac".encode())


def test_the_end_of_sequence_has_none(loaded: Loaded) -> None:
    answers = Told(loaded)
    answers.add(1, logit_bias={2: 100.0}, logprobs=2)
    answers.finish()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert (ending.reason, ending.completion_tokens) == ("stop", 1)
    assert answers.told[1] == []


@given(
    arrays(np.float32, st.integers(1, 40), elements=st.floats(-9, 9, width=32)),
    st.integers(0, 20),
)
def test_the_best_come_first(row: Any, count: int) -> None:
    ranked = sorted(range(len(row)), key=lambda token: (-row[token], token))
    found = best_of(row, count)

    assert [row[token] for token in found] == [row[token] for token in ranked[:count]]


def test_what_cannot_come_has_a_number_all_the_same(loaded: Loaded) -> None:
    gen = Gen(rid=1, max_tokens=1, temperature=0.0, logprobs=2)
    logprobs = Logprobs.of(gen, TokenBytes(loaded.tokenizer))
    assert logprobs is not None

    logprobs.add(5, mx.array([[0.0] + [-math.inf] * 9]))
    logprobs.add(5, mx.array([[math.nan] * 10]))

    told = logprobs.take()
    assert told[0].logprob == told[1].logprob == LEAST
    assert [value for _, value in told[0].top] == [0.0, LEAST]
    assert logprobs.take() == []


class SentencePiece:
    """A tokenizer as Llama 2 has it."""

    words = ("<s>", "\u2581the", "<0xE2>", "\u2581", "a\u2581b")

    class Backend:
        decoder = "Sequence(decoders=[Replace(), ByteFallback(), Fuse()])"

        def get_added_tokens_decoder(self) -> dict[int, object]:
            return {0: "<s>"}

    backend_tokenizer = Backend()

    def convert_ids_to_tokens(self, token: int, /) -> str | None:
        return self.words[token] if token < len(self.words) else None


def test_sentence_piece_writes_bytes_another_way() -> None:
    bytes_of = TokenBytes(SentencePiece())

    found = [bytes_of(token) for token in range(6)]

    assert found == [b"<s>", b" the", b"\xe2", b" ", b"a b", b""]
