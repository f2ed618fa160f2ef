"""What a session tells a reader that is slow, or does not read at all."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.stream import SlowReader
from lattice_actors.swarm import feed as feeds
from lattice_actors.swarm.asks import Agent, Ensemble, Strategy
from lattice_actors.swarm.events import AnswerPiece, BranchDelta, BranchDone, Outcome, Row
from lattice_actors.swarm.feed import Feed
from lattice_actors.swarm.session import open_swarm
from tests.actors.swarming import open_world, says

ASK = Ensemble((Agent("a"),), ({"role": "user", "content": "why?"},), Strategy.LONGEST)
ROW = Row(0, "a", "a", ok=True)
OUTCOME = Outcome("fanout", "", "", (), ROW.usage)


async def test_a_slow_reader_gets_all_text_in_fewer_pieces() -> None:
    feed = Feed()
    said = [str(number % 10) for number in range(2000)]
    for text in said:
        feed.tell(BranchDelta(0, "a", text))
        feed.tell(BranchDelta(1, "b", "", reasoning=text))
        feed.tell(AnswerPiece(text))
    feed.tell(BranchDone(ROW))
    feed.tell(OUTCOME)

    events = await feed.receive()

    assert len(events) <= feeds.MERGE_AFTER + 2
    deltas = [event for event in events if isinstance(event, BranchDelta)]
    assert "".join(event.text for event in deltas if event.branch == 0) == "".join(said)
    assert "".join(event.reasoning for event in deltas if event.branch == 1) == "".join(said)
    assert "".join(e.text for e in events if isinstance(e, AnswerPiece)) == "".join(said)
    assert events[-2:] == [BranchDone(ROW), OUTCOME]
    with pytest.raises(trio.EndOfChannel):
        await feed.receive()


async def test_pieces_go_on_after_what_was_read() -> None:
    feed = Feed()
    for _ in range(feeds.MERGE_AFTER + 5):
        feed.tell(AnswerPiece("x"))
    await feed.receive()
    feed.tell(AnswerPiece("y"))

    assert await feed.receive() == [AnswerPiece("y")]


async def test_nothing_follows_the_outcome() -> None:
    feed = Feed()
    feed.tell(OUTCOME)
    feed.tell(AnswerPiece("late"))
    feed.fail(SlowReader("late"))

    assert await feed.receive() == [OUTCOME]


async def test_who_does_not_read_ends_the_swarm(autojump_clock: MockClock) -> None:
    piece = "x" * 32_768
    pieces = 2 * feeds.MAX_UNREAD_BYTES // len(piece)
    async with (
        open_world({"a": says(*[piece] * pieces)}) as world,
        open_swarm(ASK, world, world) as session,
    ):
        await trio.sleep(1000)

        assert not world.running
        assert await session.receive()  # what it had is still there
        with pytest.raises(SlowReader):
            await session.receive()
