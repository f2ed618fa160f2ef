"""Clients that all leave: the pass for them is given up, and who comes next is not kept waiting."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import mlx_lm
import pytest

from lattice_actors.engine.frames import End
from lattice_actors.engine.leaving import Exit
from tests.engine.batches import Answers, Loaded, alone
from tests.engine.test_reuse import Chats


@pytest.fixture(scope="module")
def deep(tiny_model: Path) -> Loaded:
    """A model of three layers: a pass can be left after each of the first two."""
    model, tokenizer, *_ = mlx_lm.load(str(tiny_model))
    model.model.layers.append(copy.deepcopy(model.model.layers[0]))
    return Loaded(model, tokenizer, sorted(tokenizer.eos_token_ids))


class Late(set[int]):
    """Those who have left, which shows when it is looked at for the *at*-th time."""

    def __init__(self, rids: set[int], at: int) -> None:
        super().__init__(rids)
        self.looks_left = at

    def issuperset(self, other: object) -> bool:
        self.looks_left -= 1
        return self.looks_left <= 0 and super().issuperset(other)  # type: ignore[arg-type]


def cancel_all(answers: Answers, rids: tuple[int, ...]) -> list[End | None]:
    return [answers.batch.cancel(rid, time.monotonic()) for rid in rids]


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("look", [1, 2])
def test_a_pass_for_nobody_is_given_up(deep: Loaded, steps: int, look: int) -> None:
    answers = Answers(deep)
    answers.add(1)
    answers.add(2)
    for _ in range(steps):
        answers.step()
    told = dict(answers.tokens)
    answers.batch._gone = Late({1, 2}, look)

    assert not answers.step()  # no piece

    ends = cancel_all(answers, (1, 2))
    assert answers.tokens == told
    assert [end and end.ghost_tokens for end in ends] == [0, 0]
    assert not answers.batch
    assert answers.batch.kv_bytes == 0
    answers.add(3)
    answers.finish()
    assert answers.text[3] == alone(deep, 3)


def test_a_pass_goes_on_for_the_one_who_stays(deep: Loaded) -> None:
    answers = Answers(deep)
    answers.add(1)
    answers.add(2)
    answers.step()
    answers.step()
    answers.batch.will_cancel(1)

    answers.step()
    end = answers.batch.cancel(1, 0.0)
    answers.finish()

    assert end is not None
    assert end.ghost_tokens == 1
    assert answers.text[2] == alone(deep, 2)


def test_a_long_prompt_is_left_in_the_middle(deep: Loaded) -> None:
    answers = Answers(deep)
    answers.pacing.idle_tokens = 16
    answers.add(3)
    answers.step()
    answers.batch._gone = Late({3}, 2)

    answers.step()

    assert answers.prefilled == [16, 0]
    [end] = cancel_all(answers, (3,))
    assert end is not None
    assert end.completion_tokens == 0


@pytest.mark.parametrize("look", [1, 2])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_what_was_read_before_such_a_pass_is_kept(
    deep: Loaded, steps: int, look: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chats = Chats(deep)
    question = "What is the capital of the user? " * 3
    rids = [chats.add(question + "hello"), chats.add(question + "world world")]
    for _ in range(steps):
        chats.step()
    chats.batch._gone = Late(set(rids), look)
    chats.step()
    for rid in rids:
        chats.batch.cancel(rid, time.monotonic())

    text = chats.say(question + "hello")

    assert text == Chats(deep, prefix_cache_bytes=0).say(question + "hello")
    if steps > 1:  # before, the caches are on their way from one batch of mlx-lm's to another
        assert chats.cached() == chats.prompts[chats.rid].total - 1
    assert capsys.readouterr().err == ""


def test_a_newcomer_is_read_before_what_others_left_is_kept(deep: Loaded) -> None:
    chats = Chats(deep)
    rids = [chats.add(letter * 40) for letter in "abc"]
    chats.step()
    chats.step()
    for rid in rids:
        chats.batch.cancel(rid, time.monotonic())
    assert chats.batch.unsettled == 3

    newcomer = chats.add("d" * 40)
    chats.step()

    assert chats.text[newcomer]
    assert chats.batch.unsettled == 3
    chats.finish()
    assert chats.batch.unsettled == 0


def test_a_newcomer_finds_what_is_not_kept_yet(deep: Loaded) -> None:
    chats = Chats(deep)
    rids = [chats.add(letter * 40) for letter in "abc"]
    chats.step()
    chats.step()
    for rid in rids:
        chats.batch.cancel(rid, time.monotonic())

    chats.add("b" * 40 + "hello")
    chats.step()

    assert chats.batch.unsettled == 2
    chats.finish()
    assert chats.cached() >= 38
    assert chats.text[chats.rid] == Chats(deep, prefix_cache_bytes=0).say("b" * 40 + "hello")


def test_what_running_streams_would_be_copied_for_is_kept_first(deep: Loaded) -> None:
    chats = Chats(deep)
    rids = [chats.add(letter * 40) for letter in "abc"]
    chats.step()
    chats.step()
    for rid in rids[:2]:
        chats.batch.cancel(rid, time.monotonic())
    assert chats.batch.unsettled == 2

    chats.step()

    assert chats.batch.unsettled == 0


def test_a_model_is_prepared_once(deep: Loaded) -> None:
    assert Exit.of(deep.model) is Exit.of(deep.model)
