"""What the cloud costs is known after a restart, however the one before it ended."""

from __future__ import annotations

import fcntl
import itertools
import os
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lattice_actors.remote.spend import DAY_S, CapReached, Price, Spend, TokenCounts
from lattice_actors.remote.spend_book import SpendBook, SpendUnknown

NOON = 20_000.5 * DAY_S
FILE = "spend-2024-10-04.jsonl"
PRICE = Price(1.0, 1.0)
NAMES = itertools.count()


def book(folder: Path, cap: int | None = 1000) -> SpendBook:
    """One server's: as a process would have it."""
    return SpendBook(Spend({"m": PRICE}, cap, name=f"s{next(NAMES)}"), folder)


async def spent(one: SpendBook) -> tuple[int, int]:
    """Return what was spent and what is set aside, in micro-dollars, as known on the disk."""
    await one.look(NOON)
    view = one.view(NOON)
    return round(view.spent_usd * 1e6), round(view.held_usd * 1e6)


async def test_a_restart_forgets_nothing_of_the_day(tmp_path: Path) -> None:
    first = book(tmp_path / "state")
    held = await first.hold("m", 300, 300, NOON)
    first.settle(held, NOON, TokenCounts(plain=100, cached=50, written=25, output=200))

    second = book(tmp_path / "state")

    assert await spent(second) == (375, 0)
    view = second.view(NOON)
    assert (view.requests, view.unpriced_requests) == (1, 0)
    assert (view.input_tokens, view.cached_tokens, view.output_tokens) == (175, 50, 200)
    with pytest.raises(CapReached):
        await second.hold("m", 326, 300, NOON)
    assert (await second.hold("m", 325, 300, NOON)).micros == 625


async def test_what_was_set_aside_when_a_server_was_killed_counts_whole(tmp_path: Path) -> None:
    await book(tmp_path).hold("m", 300, 300, NOON)  # and that was the last that was heard of it

    assert await spent(book(tmp_path)) == (0, 600)
    with pytest.raises(CapReached):
        await book(tmp_path).hold("m", 401, 0, NOON)


async def test_servers_that_run_side_by_side_keep_one_cap(tmp_path: Path) -> None:
    one, two = book(tmp_path), book(tmp_path)
    held = await one.hold("m", 600, 0, NOON)

    with pytest.raises(CapReached):
        await two.hold("m", 401, 0, NOON)
    one.settle(held, NOON, TokenCounts(plain=1))

    assert (await two.hold("m", 999, 0, NOON)).micros == 999
    assert await spent(one) == (1, 999)


async def test_a_new_day_has_a_file_of_its_own_and_the_old_one_goes(tmp_path: Path) -> None:
    one = book(tmp_path)
    running = await one.hold("m", 600, 0, NOON)
    tomorrow = NOON + DAY_S

    await one.hold("m", 400, 0, tomorrow)
    one.settle(running, tomorrow, TokenCounts(plain=500))

    assert os.listdir(tmp_path) == ["spend-2024-10-05.jsonl"]
    other = book(tmp_path)
    await other.look(tomorrow)
    assert other.view(tomorrow).spent_usd == pytest.approx(500e-6)
    assert other.view(tomorrow).held_usd == pytest.approx(400e-6)


async def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path: Path) -> None:
    one = book(tmp_path)
    one.settle(await one.hold("m", 600, 0, NOON), NOON, TokenCounts(plain=100))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-7])  # the end of what it came to

    assert await spent(book(tmp_path)) == (0, 600)  # too much, and never too little
    assert await spent(book(tmp_path)) == (0, 600)
    await book(tmp_path).hold("m", 400, 0, NOON)
    assert await spent(book(tmp_path)) == (0, 1000)


@pytest.mark.parametrize(
    "content", [b"nonsense\n", b"\x00" * 50 + b"\n", b'{"id":"a","held":"x"}\n']
)
async def test_a_record_that_is_none_forbids_the_cloud_where_there_is_a_cap(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    capped, free = book(tmp_path), book(tmp_path, cap=None)

    await capped.look(NOON)
    with pytest.raises(SpendUnknown, match="anthropic_daily_cap_usd"):
        await capped.hold("m", 1, 1, NOON)
    free.settle(await free.hold("m", 1, 1, NOON), NOON, TokenCounts(plain=5))

    assert capped.view(NOON).held_usd == 0
    assert free.view(NOON).spent_usd == pytest.approx(5e-6)
    assert (await capped.hold("m", 1, 1, NOON + DAY_S)).micros == 2  # the next day has its own


async def test_a_folder_that_cannot_be_written_forbids_it_too(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")

    with pytest.raises(SpendUnknown):
        await book(tmp_path / "state").hold("m", 1, 1, NOON)
    assert (await book(tmp_path / "state", cap=None).hold("m", 1, 1, NOON)).micros == 2


async def test_a_lock_that_stays_taken_is_waited_for_and_given_up(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    one = book(tmp_path)
    await one.look(NOON)
    fd = os.open(tmp_path / FILE, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        start = trio.current_time()
        with pytest.raises(SpendUnknown):
            await one.hold("m", 1, 1, NOON)
        assert 4 < trio.current_time() - start < 6
    finally:
        os.close(fd)

    assert (await one.hold("m", 1, 1, NOON)).micros == 2


async def test_who_leaves_before_it_is_written_down_has_set_nothing_aside(tmp_path: Path) -> None:
    one = book(tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel(reason="the client left")
        await one.hold("m", 1, 1, NOON)

    assert await spent(one) == (0, 0)
    assert await spent(book(tmp_path)) == (0, 0)


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 400), st.sampled_from(["end", "run", "die"])),
    max_size=12,
)


@settings(max_examples=25)
@given(STEPS)
def test_no_order_of_servers_and_crashes_gets_past_the_cap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("book")

    async def run() -> None:
        books = [book(folder) for _ in range(3)]
        sent = 0  # the most that answers can have come to
        for number, size, then in steps:
            try:
                held = await books[number].hold("m", size, 0, NOON)
            except CapReached:
                assert sent + size > 1000
                continue
            sent += size
            if then == "end":
                books[number].settle(held, NOON, TokenCounts(plain=size))
            elif then == "die":
                books[number] = book(folder)
        assert sent <= 1000
        assert sum(await spent(book(folder))) == sent

    trio.run(run)
