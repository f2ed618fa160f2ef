from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lattice_actors.errors import ModelCrashed
from lattice_actors.generation import Delta, Finish, FinishReason, Usage
from lattice_actors.stream import MAX_UNREAD_BYTES, MERGE_AFTER, SlowReader, TokenStream

END = Finish(FinishReason.STOP, Usage(1, 2))


async def test_pieces_arrive_in_order_and_the_end_is_last() -> None:
    stream = TokenStream()
    stream.push(Delta("a"))
    stream.push(Delta("b"))
    stream.finish(END)

    assert await stream.receive() == [Delta("a"), Delta("b"), END]
    with pytest.raises(trio.EndOfChannel):
        await stream.receive()


async def test_a_reader_waits_for_the_first_piece(nursery: trio.Nursery) -> None:
    stream = TokenStream()
    got: list[object] = []

    async def read() -> None:
        got.extend(await stream.receive())

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    stream.push(Delta("a"))
    await wait_all_tasks_blocked()

    assert got == [Delta("a")]


async def test_an_error_comes_after_what_is_unread() -> None:
    stream = TokenStream()
    stream.push(Delta("a"))
    stream.fail(ModelCrashed("gone"))
    stream.finish(END)  # too late: it has ended

    assert await stream.receive() == [Delta("a")]
    with pytest.raises(ModelCrashed):
        await stream.receive()


async def test_nothing_is_lost_when_many_pieces_wait() -> None:
    stream = TokenStream()
    for number in range(3 * MERGE_AFTER):
        stream.push(Delta(f"{number} "))

    events = await stream.receive()

    assert len(events) == MERGE_AFTER
    text = "".join(event.text for event in events if isinstance(event, Delta))
    assert text == "".join(f"{number} " for number in range(3 * MERGE_AFTER))
    assert sum(event.tokens for event in events if isinstance(event, Delta)) == 3 * MERGE_AFTER


async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    stream = TokenStream()
    assert stream.push(Delta("x" * MAX_UNREAD_BYTES))

    assert not stream.push(Delta("y"))
    await stream.receive()
    with pytest.raises(SlowReader):
        await stream.receive()


async def test_what_nobody_has_read_can_begin_again() -> None:
    stream = TokenStream()
    stream.push(Delta("once"))
    assert stream.rewind()
    stream.push(Delta("twice"))

    assert await stream.receive() == [Delta("twice")]
    assert stream.tokens == 1
    assert not stream.rewind()


async def test_a_whole_stream_comes_in_one_piece_and_can_begin_again_until_then(
    nursery: trio.Nursery,
) -> None:
    stream = TokenStream(whole=True)
    got: list[object] = []

    async def read() -> None:
        got.extend(await stream.receive())

    nursery.start_soon(read)
    stream.push(Delta("x" * (MAX_UNREAD_BYTES + 1)))  # its length is bounded by max_tokens
    await wait_all_tasks_blocked()
    assert got == []
    assert stream.rewind()
    stream.push(Delta("a"))
    stream.finish(END)
    await wait_all_tasks_blocked()

    assert got == [Delta("a"), END]


async def test_half_of_a_whole_answer_is_none() -> None:
    stream = TokenStream(whole=True)
    stream.push(Delta("half"))
    stream.fail(ModelCrashed("gone"))

    with pytest.raises(ModelCrashed):
        await stream.receive()


async def test_vectors_are_whole_at_the_end_and_forgotten_with_what_came_before_it() -> None:
    stream = TokenStream(whole=True)
    stream.push_vectors(b"lost")
    assert stream.rewind()
    for piece in (b"ab", b"cd"):
        stream.push_vectors(piece)
    stream.finish(END)
    stream.push_vectors(b"late")

    assert await stream.receive() == [END]
    assert stream.vectors == b"abcd"
