"""The laws of the steps of an embedding engine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.embedding_queue import LIKE, EmbeddingQueue, Place

requests = st.dictionaries(
    st.integers(1, 99), st.lists(st.integers(1, 100), min_size=1, max_size=20), max_size=5
)


def filled(texts: dict[int, list[int]], step_tokens: int = 64) -> EmbeddingQueue:
    queue = EmbeddingQueue(step_tokens)
    for rid, lengths in texts.items():
        queue.add(rid, lengths)
    return queue


def steps_of(queue: EmbeddingQueue) -> list[list[Place]]:
    steps = []
    while queue:
        steps.append(queue.next_step())
    return steps


@given(requests, st.integers(1, 300))
def test_every_text_is_in_one_step_and_no_step_is_too_large(
    texts: dict[int, list[int]], step_tokens: int
) -> None:
    steps = steps_of(filled(texts, step_tokens))

    every = [place for step in steps for place in step]
    assert len(every) == len(set(every))
    assert set(every) == {
        Place(r, at) for r, lengths in texts.items() for at in range(len(lengths))
    }
    for step in steps:
        lengths = [texts[place.rid][place.index] for place in step]
        assert max(lengths) == lengths[0]
        assert len(step) == 1 or len(step) * lengths[0] <= step_tokens
        assert min(lengths) * LIKE >= lengths[0]


@given(requests)
def test_nobody_waits_longer_than_for_a_step_of_each_other_request(
    texts: dict[int, list[int]],
) -> None:
    left = {rid: len(lengths) for rid, lengths in texts.items()}
    waited = dict.fromkeys(texts, 0)

    for step in steps_of(filled(texts)):
        for place in step:
            left[place.rid] -= 1
        served = {place.rid for place in step}
        waited = {rid: 0 if rid in served else waited[rid] + 1 for rid in waited if left[rid]}
        assert all(steps < len(texts) for steps in waited.values())


def test_a_single_text_does_not_wait_for_thousands() -> None:
    queue = filled({1: [8] * 1000})
    queue.next_step()
    queue.add(2, [50])

    assert queue.next_step() == [Place(2, 0)]


def test_thousands_do_not_wait_for_one_single_text_after_another() -> None:
    queue = filled({1: [8] * 1000})
    led = []
    for rid in range(2, 20):
        led.append(queue.next_step()[0].rid)
        queue.add(rid, [50])
        led.append(queue.next_step()[0].rid)

    assert led[:6] == [1, 2, 1, 3, 1, 4]


def test_what_was_dropped_is_in_no_step() -> None:
    queue = filled({1: [8] * 10, 2: [8]})

    queue.drop(1)
    queue.drop(7)

    assert steps_of(queue) == [[Place(2, 0)]]
    assert queue.next_step() == []
    assert "0 texts of 0" in repr(queue)


def test_an_empty_request_waits_for_nothing() -> None:
    assert not filled({1: []})
