from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.errors import ActorRestarted, ActorStopped, MailboxFull
from lattice_actors.mailbox import Mailbox, Reply


@attrs.frozen(eq=False)
class Question:
    reply: Reply[int]


async def ask(mailbox: Mailbox[Question | str]) -> int:
    question = Question(Reply[int]())
    return await mailbox.ask(question, question.reply)


async def test_an_ask_gets_its_own_answer(nursery: trio.Nursery) -> None:
    mailbox = Mailbox[Question | str]("oracle")
    answers: dict[int, int] = {}

    async def asker(number: int) -> None:
        answers[number] = await ask(mailbox)

    for number in range(3):
        nursery.start_soon(asker, number)
        await wait_all_tasks_blocked()
    for number in range(3):
        question = await mailbox.receive()
        assert isinstance(question, Question)
        question.reply.send(number)
    await wait_all_tasks_blocked()

    assert answers == {0: 0, 1: 1, 2: 2}


async def test_the_first_answer_stays() -> None:
    reply = Reply[int]()

    reply.send(1)
    reply.send(2)
    reply.fail(ValueError())

    assert await reply.wait() == 1


async def test_asks_beyond_the_limit_are_refused_and_tells_are_not() -> None:
    mailbox = Mailbox[Question | str]("busy", limit=2)
    mailbox.tell("one")
    mailbox.tell("two")

    with pytest.raises(MailboxFull):
        await ask(mailbox)
    mailbox.tell("three")

    assert mailbox.depth == 3


async def test_a_message_that_is_here_beats_a_deadline_that_has_passed() -> None:
    mailbox = Mailbox[Question | str]("late")
    mailbox.tell("news")

    assert await mailbox.receive(deadline=trio.current_time() - 1) == "news"


async def test_receive_returns_none_at_its_deadline(autojump_clock: MockClock) -> None:
    mailbox = Mailbox[Question | str]("quiet")
    start = trio.current_time()

    assert await mailbox.receive(deadline=start + 7) is None
    assert trio.current_time() == start + 7


@pytest.mark.parametrize("was_read", [True, False])
async def test_closing_answers_read_and_unread_asks(was_read: bool) -> None:
    mailbox = Mailbox[Question | str]("closing")

    async with trio.open_nursery() as nursery:

        async def asker() -> None:
            with pytest.raises(ActorStopped):
                await ask(mailbox)

        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        if was_read:
            await mailbox.receive()
        mailbox.close()

    with pytest.raises(ActorStopped):
        await ask(mailbox)
    mailbox.tell("into the void")


async def test_abandoning_fails_what_was_read_and_keeps_what_was_not() -> None:
    mailbox = Mailbox[Question | str]("crashed")

    async with trio.open_nursery() as nursery:

        async def unlucky() -> None:
            with pytest.raises(ActorRestarted):
                await ask(mailbox)

        async def lucky() -> None:
            assert await ask(mailbox) == 7

        nursery.start_soon(unlucky)
        await wait_all_tasks_blocked()
        await mailbox.receive()
        nursery.start_soon(lucky)
        await wait_all_tasks_blocked()
        mailbox.abandon()
        question = await mailbox.receive()
        assert isinstance(question, Question)
        question.reply.send(7)


async def test_an_ask_made_anew_survives_a_restart() -> None:
    mailbox = Mailbox[Question | str]("crashed")
    answers: list[int] = []

    async with trio.open_nursery() as nursery:

        async def asker() -> None:
            answers.append(await mailbox.ask_anew(Question))

        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        await mailbox.receive()
        mailbox.abandon()
        await wait_all_tasks_blocked()
        question = await mailbox.receive()
        assert isinstance(question, Question)
        question.reply.send(5)

    assert answers == [5]


async def test_a_cancelled_ask_leaves_nothing_behind() -> None:
    mailbox = Mailbox[Question | str]("left")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, mailbox)
        await wait_all_tasks_blocked()
        await mailbox.receive()
        nursery.cancel_scope.cancel()

    assert not mailbox._open
