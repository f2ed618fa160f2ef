"""Prompts that are read whole, from rest: the same tokens, in fewer passes."""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.generate import BatchGenerator

from lattice_actors.engine.batch import Batch
from lattice_actors.engine.frames import End
from lattice_actors.engine.last_logits import LastLogits
from tests.engine.batches import PROMPTS, Answers, Loaded, alone
from tests.engine.test_reuse import Chats


@pytest.fixture
def _by_mlx_lm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is read by mlx-lm, as where the last layer of a model is not found."""
    with monkeypatch.context() as patch:
        patch.setattr(LastLogits, "of", classmethod(lambda cls, model: None))
        yield


@pytest.fixture
def slow(loaded: Loaded, _by_mlx_lm: None) -> dict[int, str]:
    return {rid: alone(loaded, rid) for rid in PROMPTS}


def test_the_answers_are_those_of_mlx_lm(slow: dict[int, str], solo: dict[int, str]) -> None:
    assert solo == slow


def test_prompts_of_all_lengths_have_their_first_tokens_after_one_pass(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    answers = Answers(loaded)
    for rid in PROMPTS:
        answers.add(rid)

    pieces = answers.step()
    answers.finish()

    assert sorted(piece.rid for piece in pieces) == sorted(PROMPTS)
    assert answers.text == solo
    assert answers.tokens == dict.fromkeys(PROMPTS, 24)
    assert sum(answers.prefilled) == sum(
        len(loaded.tokenizer.encode(prompt)) for prompt in PROMPTS.values()
    )


def test_the_last_layer_works_on_one_row_of_each_prompt(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    whole = type(loaded.model).__call__

    def spied(self: Any, tokens: mx.array, **more: Any) -> mx.array:
        logits: mx.array = whole(self, tokens, **more)
        shapes.append((tokens.shape, logits.shape))
        return logits

    monkeypatch.setattr(type(loaded.model), "__call__", spied)
    answers = Answers(loaded)
    answers.add(1)
    answers.add(3)
    answers.step()

    longest = len(loaded.tokenizer.encode(PROMPTS[3]))
    assert shapes == [((2, longest), (2, 1, 290))]


def test_an_answer_of_one_token_takes_one_step(loaded: Loaded, solo: dict[int, str]) -> None:
    answers = Answers(loaded)
    answers.add(1, max_tokens=1)
    answers.add(2)
    answers.step()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert (ending.reason, ending.completion_tokens) == ("length", 1)
    assert solo[1].startswith(ending.text)
    answers.finish()
    assert answers.text[2] == solo[2]


def test_an_answer_that_ends_at_once_is_empty(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(1, logit_bias={2: 100.0})  # the end-of-sequence token
    answers.step()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert (ending.reason, ending.text, ending.completion_tokens) == ("stop", "", 1)
    assert not answers.batch


@pytest.mark.parametrize("fields", [{"logprobs": 2}, {"logprobs": 2, "presence_penalty": 0.5}])
def test_log_probabilities_are_told_of_the_first_token_too(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    def told() -> list[float]:
        answers = Answers(loaded)
        answers.add(1, **fields)
        rows = []
        while answers.batch:
            outcome = answers.batch.step()
            for report in (*outcome.pieces, *outcome.endings):
                rows += [each.logprob for each in getattr(report, "logprobs", [])]
        return rows

    fast = told()
    monkeypatch.setattr(LastLogits, "of", classmethod(lambda cls, model: None))

    assert len(fast) == 24
    assert fast == pytest.approx(told(), abs=1e-4)


def test_more_than_a_pass_may_take_is_read_in_chunks(loaded: Loaded, solo: dict[int, str]) -> None:
    answers = Answers(loaded)
    answers.pacing.idle_tokens = 16
    answers.add(3)
    answers.add(2)
    assert not answers.step()
    answers.finish()

    assert max(answers.prefilled) <= 16
    assert answers.text == {2: solo[2], 3: solo[3]}


def test_who_comes_while_others_run_is_read_beside_them(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    answers = Answers(loaded)
    answers.add(1)
    answers.step()
    answers.add(2)
    answers.finish()

    assert answers.text == {1: solo[1], 2: solo[2]}


def test_a_processor_that_raises_on_the_first_token_ends_its_own_stream_only(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    def broken(tokens: mx.array, logits: mx.array) -> mx.array:
        raise ValueError("no")

    answers = Answers(loaded)
    answers.add(1)
    answers.add(2, [broken])
    answers.finish()

    assert not isinstance(answers.endings[2], End)
    assert answers.text == {1: solo[1]}


def test_steps_that_fail_after_it_switch_it_off(loaded: Loaded, solo: dict[int, str]) -> None:
    class Picky(BatchGenerator):
        def next(self) -> Any:
            if any(sequence[4] for sequence in self._unprocessed_sequences):
                raise ValueError("cannot go on from there")
            return super().next()  # type: ignore[no-untyped-call]  # mlx-lm's

    answers = Answers(loaded, make_generator=Picky)
    first = []
    for _ in range(3):
        answers.endings.clear()
        answers.text.clear()
        answers.add(1)
        first.append(bool(answers.step()))
        answers.finish()
        assert answers.text == {1: solo[1]}

    assert first == [True, True, False]


def test_two_batches_of_one_model_prepare_it_once(loaded: Loaded) -> None:
    Batch(loaded, Answers(loaded).pacing, 8)
    plain = type(loaded.model.lm_head)
    Batch(loaded, Answers(loaded).pacing, 8)

    assert type(loaded.model.lm_head) is plain


def test_what_is_kept_is_not_written_to(loaded: Loaded) -> None:
    chats = Chats(loaded)
    start = "What is the capital of the user? "
    texts = [start + "the user is hello world " * 3, start + "a", start + "hello the world"]
    answers = [Chats(loaded, prefix_cache_bytes=0).say(text) for text in texts]

    for at in (0, 1, 2, 1, 0, 2, 0):
        assert chats.say(texts[at]) == answers[at]
        assert chats.cached() > 0 or not at
