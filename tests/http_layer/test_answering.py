"""How long an answer may take: from its grant, streamed or not, one or several."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Limits
from lattice_actors.errors import QueueRefused
from lattice_actors.generation import Chat, Delta, Finish, FinishReason, Job
from lattice_actors.stream import TokenStream
from lattice_http.answering import Answering
from tests.actors.house import LOAD_S, House, open_house

TIMEOUT_S = 10.0


def ticket(tokens: int, *, whole: bool = True, deadline: float = math.inf) -> Ticket:
    now = trio.current_time()
    job = Job(Chat(({"role": "user", "content": "hello"},)), tokens)
    stream = TokenStream(whole=whole)
    return Ticket("r", "a", job, 5, now, now + 600, deadline=deadline, stream=stream)


async def read(house: House, *tickets: Ticket) -> tuple[list[str], list[Finish], bool]:
    texts = [""] * len(tickets)
    ends: dict[int, Finish] = {}
    async with Answering(house.lattice.admission, tickets, TIMEOUT_S) as answering:
        while not answering.over:
            for index, event in await answering.receive() or ():
                if isinstance(event, Delta):
                    texts[index] += event.text
                else:
                    assert index not in ends
                    ends[index] = event
        return texts, [ends[index] for index in range(len(tickets))], answering.cut


@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_is_cut_a_timeout_after_its_grant(
    autojump_clock: MockClock, whole: bool
) -> None:
    """The grant comes while its reader waits: the model had to be loaded."""
    async with open_house() as house:
        [text], [end], cut = await read(house, ticket(500, whole=whole))

        assert cut
        assert end.reason is FinishReason.LENGTH
        assert len(text) == end.usage.completion_tokens
        assert TIMEOUT_S - 2 <= len(text) <= TIMEOUT_S
        assert trio.current_time() == pytest.approx(LOAD_S + TIMEOUT_S, abs=1)


async def test_an_answer_without_a_grant_at_its_deadline_is_refused(
    autojump_clock: MockClock,
) -> None:
    """An empty answer would look like one."""
    async with open_house() as house:
        with pytest.RaisesGroup(QueueRefused, flatten_subgroups=True):
            await read(house, ticket(1, deadline=trio.current_time()))


async def test_an_answer_that_waits_for_a_slot_of_its_own_request_has_its_own_time(
    autojump_clock: MockClock,
) -> None:
    """One of them is cut, and only then is there a slot for the other."""
    async with open_house(limits=Limits(streams_total=1)) as house:
        await house.ask("a")

        texts, ends, cut = await read(house, ticket(500), ticket(500))

        assert cut
        assert [end.reason for end in ends] == [FinishReason.LENGTH] * 2
        assert all(TIMEOUT_S - 2 <= len(text) <= TIMEOUT_S for text in texts)
        await trio.sleep(2)
        assert await house.running() == {"a": 0}
