"""Streams that join, leave and fail in one batch of a real (tiny) model."""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

import time
from typing import Any

import attrs
import mlx_lm
import pytest
from mlx_lm.generate import BatchGenerator

from lattice_actors.engine.batch import TooManyRebuilds
from lattice_actors.engine.frames import End, Err
from tests.engine.batches import PROMPTS, Answers, Loaded, alone, failing


def test_a_stream_is_token_identical_to_the_bare_library(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    tokenizer = loaded.tokenizer
    bare = mlx_lm.generate(
        loaded.model, tokenizer, prompt=tokenizer.encode(PROMPTS[1]), max_tokens=24
    )

    assert solo[1] == bare
    assert len(set(solo.values())) == len(PROMPTS)


def test_max_tokens_ends_with_length_and_exact_counts(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(1, max_tokens=5)

    answers.finish()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert (ending.reason, ending.completion_tokens) == ("length", 5)
    assert ending.prompt_tokens == len(loaded.tokenizer.encode(PROMPTS[1]))
    assert answers.tokens[1] == 5


def test_neighbours_that_join_leave_and_are_cancelled_change_nothing(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    answers = Answers(loaded)
    answers.add(1)
    answers.step_until_text(1)
    answers.add(2)
    answers.add(4, max_tokens=3)
    answers.step_until_text(2)
    answers.add(3)
    assert answers.batch.cancel(2, time.monotonic()) is not None
    answers.finish()

    assert (answers.text[1], answers.text[3]) == (solo[1], solo[3])
    assert solo[4].startswith(answers.text[4])
    assert solo[2].startswith(answers.text[2])


def test_more_streams_than_places_wait_and_are_all_answered(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    answers = Answers(loaded, max_streams=2)
    for rid in PROMPTS:
        answers.add(rid)

    answers.finish()

    assert answers.text == solo


def test_a_seeded_answer_is_the_same_alone_and_among_others(loaded: Loaded) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "seed": 42, "top_p": 0.95, "top_k": 40}
    first = alone(loaded, 1, **how)
    answers = Answers(loaded)
    answers.add(2)
    answers.step_until_text(2)
    answers.add(1, **how)
    answers.add(3, temperature=1.2, seed=5)
    answers.finish()

    assert answers.text[1] == first
    assert alone(loaded, 1, **(how | {"seed": 43})) != first


def test_the_first_token_goes_out_in_the_step_that_makes_it(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(1)

    assert len(answers.step()) == 1


def test_a_stop_string_ends_the_answer_before_it(loaded: Loaded, solo: dict[int, str]) -> None:
    stop = solo[1][7:12]
    answers = Answers(loaded)
    answers.add(1, stop=["not in there", stop])
    answers.add(2)
    answers.finish()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert ending.reason == "stop"
    assert answers.text[1] == solo[1][: solo[1].index(stop)]
    assert answers.tokens[1] == ending.completion_tokens < 24
    assert answers.text[2] == solo[2]


def test_the_end_of_sequence_token_stops_counts_and_does_not_show(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    third = loaded.tokenizer.encode(solo[1], add_special_tokens=False)[2]
    answers = Answers(attrs.evolve(loaded, eos_token_ids=[third]))
    answers.add(1)
    answers.finish()

    ending = answers.endings[1]
    assert isinstance(ending, End)
    assert (ending.reason, ending.completion_tokens) == ("stop", 3)
    assert answers.text[1] == loaded.tokenizer.decode(
        loaded.tokenizer.encode(solo[1], add_special_tokens=False)[:2]
    )


# --- cancellation --------------------------------------------------------------------------------


def test_a_cancel_between_two_steps_leaves_no_ghost(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(1)
    answers.step_until_text(1)

    end = answers.batch.cancel(1, time.monotonic())

    assert end is not None
    assert (end.reason, end.ghost_tokens, end.completion_tokens) == ("cancelled", 0, 1)
    assert not answers.batch
    assert answers.batch.kv_bytes == 0


def test_a_cancel_during_a_step_leaves_the_one_token_of_that_step(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(1)
    answers.step_until_text(1)
    answers.step()
    seen_at = time.monotonic()
    answers.step()

    end = answers.batch.cancel(1, seen_at)

    assert end is not None
    assert end.ghost_tokens == 1


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_prompt_that_is_being_read_can_be_cancelled(
    loaded: Loaded, solo: dict[int, str], steps: int
) -> None:
    answers = Answers(loaded)
    answers.pacing.idle_tokens = 16
    answers.add(2)
    answers.add(3, prompt=loaded.tokenizer.encode("the user is a " * 40))
    for _ in range(steps):
        answers.step()

    end = answers.batch.cancel(3, time.monotonic())
    answers.finish()

    assert end is not None
    assert (end.completion_tokens, end.ghost_tokens) == (0, 0)
    assert answers.text == {2: solo[2]}


def test_an_unknown_stream_cannot_be_cancelled(loaded: Loaded) -> None:
    assert Answers(loaded).batch.cancel(9, 0.0) is None


# --- prefill in chunks ---------------------------------------------------------------------------


def test_the_sum_of_the_chunks_of_a_step_is_bounded(loaded: Loaded, solo: dict[int, str]) -> None:
    long = loaded.tokenizer.encode("the user is a " * 60)
    answers = Answers(loaded)
    answers.pacing.idle_tokens = 64
    answers.add(1, prompt=long)
    answers.add(2)
    answers.add(3)
    answers.finish()

    most_new_streams = 3  # the last token of a prompt is read with the first decode
    assert max(answers.prefilled) <= 64 + most_new_streams
    assert sum(answers.prefilled) == len(long) + sum(
        len(loaded.tokenizer.encode(PROMPTS[rid])) for rid in (2, 3)
    )
    assert (answers.text[2], answers.text[3]) == (solo[2], solo[3])


def test_a_short_prompt_is_answered_while_a_long_one_is_still_read(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.pacing.idle_tokens = 16
    answers.add(1, prompt=loaded.tokenizer.encode("the user is a " * 60))
    answers.step()
    answers.add(2, max_tokens=2)
    while 2 not in answers.endings:
        answers.step()

    assert 1 not in answers.text


def test_a_chunk_is_small_while_somebody_decodes(loaded: Loaded) -> None:
    answers = Answers(loaded, target_step_s=0.001)
    answers.add(1, max_tokens=200)
    answers.step_until_text(1)
    answers.prefilled.clear()
    answers.add(2, prompt=loaded.tokenizer.encode("the user is a " * 30), max_tokens=1)
    while 2 not in answers.endings:
        answers.step()

    assert max(answers.prefilled) == 16


# --- failures -------------------------------------------------------------------------------------


def test_a_detokenizer_that_raises_ends_its_own_stream_only(
    loaded: Loaded, solo: dict[int, str]
) -> None:
    class Choking:
        last_segment = ""

        def add_token(self, token: int) -> None:
            raise IndexError(token)

        def finalize(self) -> None: ...

    class Tokenizer:
        def __init__(self) -> None:
            self.given = 0

        @property
        def detokenizer(self) -> Any:
            self.given += 1
            return loaded.tokenizer.detokenizer if self.given == 1 else Choking()

        def encode(self, text: str) -> list[int]:
            tokens: list[int] = loaded.tokenizer.encode(text)
            return tokens

    answers = Answers(attrs.evolve(loaded, tokenizer=Tokenizer()))
    answers.add(1)
    answers.add(2)
    answers.finish()

    assert isinstance(answers.endings[2], Err)
    assert answers.text[1] == solo[1]


def test_the_fourth_failed_step_in_a_minute_gives_the_process_up(loaded: Loaded) -> None:
    answers = Answers(loaded, make_generator=failing({2, 4, 6, 8}))
    answers.add(1)

    with pytest.raises(TooManyRebuilds):
        answers.finish()

    assert answers.batch._steps == 9  # the first one is not the generator's


def test_a_stream_that_cannot_enter_ends_alone(loaded: Loaded, solo: dict[int, str]) -> None:
    class Picky(BatchGenerator):
        def insert(self, prompts: list[list[int]], **options: Any) -> Any:  # type: ignore[override]
            if len(options["all_tokens"][0]) > 40:
                raise ValueError("no")
            return super().insert(prompts, **options)

    answers = Answers(loaded, make_generator=Picky)
    answers.add(1)
    answers.add(2, prompt=loaded.tokenizer.encode("the user is a " * 30))
    answers.finish()

    assert isinstance(answers.endings[2], Err)
    assert answers.text[1] == solo[1]


def test_memory_is_reported_while_streams_live(loaded: Loaded) -> None:
    answers = Answers(loaded)
    answers.add(1)
    answers.step_until_text(1)

    assert answers.batch.kv_bytes > 0
