"""The stages of a stop, on the mock clock; the signals and the watchdog, for real."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.exit_codes import HUNG
from lattice_http.lifecycle import (
    HURRIED_WORDS_S,
    LAST_WORDS_S,
    Shutdown,
    ShutdownPlan,
    Stage,
    Watchdog,
    watch_signals,
)


def started(grace_s: float = 30.0, at: float = 100.0) -> ShutdownPlan:
    plan = ShutdownPlan(grace_s)
    plan.signalled(at)
    return plan


def test_nothing_changes_before_the_first_signal() -> None:
    plan = ShutdownPlan(30.0)

    assert plan.stage(1e9) is Stage.RUNNING
    assert plan.next_change() == float("inf")


@pytest.mark.parametrize(
    ("after_s", "stage"),
    [
        (0.0, Stage.DRAINING),
        (26.9, Stage.DRAINING),
        (27.0, Stage.CUTTING),
        (29.9, Stage.CUTTING),
        (30.0, Stage.ENDING),
        (99.0, Stage.ENDING),
    ],
)
def test_one_signal_leaves_the_whole_grace(after_s: float, stage: Stage) -> None:
    assert started().stage(100.0 + after_s) is stage


def test_a_second_signal_leaves_only_last_words() -> None:
    plan = started()

    assert plan.signalled(105.0) is Stage.CUTTING
    assert plan.next_change() == 105.0 + HURRIED_WORDS_S
    assert plan.stage(105.0 + HURRIED_WORDS_S) is Stage.ENDING


def test_a_grace_shorter_than_the_last_words_cuts_at_once() -> None:
    assert started(grace_s=LAST_WORDS_S - 1).stage(100.0) is Stage.CUTTING


@given(st.lists(st.floats(0, 100), min_size=1).map(sorted), st.floats(0, 60), st.integers(0, 5))
def test_stages_never_go_back_and_never_outlast_the_grace(
    times: list[float], grace_s: float, signals: int
) -> None:
    plan = ShutdownPlan(grace_s)
    seen = [
        plan.signalled(now) if number <= signals else plan.stage(now)
        for number, now in enumerate(times)
    ]

    assert seen == sorted(seen)
    assert plan.stage(times[0] + grace_s) is Stage.ENDING


async def test_the_events_follow_the_clock(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shutdown = Shutdown(grace_s=30.0)
    nursery.start_soon(shutdown.run)
    await wait_all_tasks_blocked()
    start = trio.current_time()

    shutdown.begin("SIGTERM")
    assert shutdown.draining.is_set()
    await shutdown.cutting.wait()
    assert trio.current_time() - start == 27.0
    await shutdown.ending.wait()
    assert trio.current_time() - start == 30.0


async def test_a_second_call_hurries(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    shutdown = Shutdown(grace_s=30.0)
    nursery.start_soon(shutdown.run)
    await wait_all_tasks_blocked()
    shutdown.begin("SIGINT")
    await trio.sleep(1)
    hurried = trio.current_time()

    shutdown.begin("SIGINT")

    assert shutdown.cutting.is_set()
    await shutdown.ending.wait()
    assert trio.current_time() - hurried == pytest.approx(HURRIED_WORDS_S)


async def test_the_exit_code_tells_whether_an_answer_was_cut(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()

    assert shutdown.exit_code == 0
    shutdown.count_cut()
    assert shutdown.exit_code == 3
    assert repr(shutdown) == "<Shutdown RUNNING, 1 cut off>"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_begins_the_stop_and_a_second_one_ends_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    shutdown, watchdog = Shutdown(grace_s=60.0), Watchdog(60.0, exit_now=lambda _: None)
    async with trio.open_nursery() as nursery:

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            await watch_signals(shutdown, watchdog=watchdog, task_status=task_status)

        await nursery.start(watch)
        os.kill(os.getpid(), number)
        with trio.fail_after(2):
            await shutdown.draining.wait()
        assert not shutdown.cutting.is_set()
        os.kill(os.getpid(), number)
        with trio.fail_after(2):
            await shutdown.ending.wait()
        os.kill(os.getpid(), number)  # a third one kills nobody
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    watchdog.disarm()

    assert signal.getsignal(number) is before


def test_the_watchdog_ends_a_process_that_hangs() -> None:
    codes: list[int] = []
    exited = threading.Event()

    def exit_now(code: int) -> None:
        codes.append(code)
        exited.set()

    Watchdog(0.02, exit_now).arm()

    assert exited.wait(2)
    assert codes == [HUNG]


@pytest.mark.parametrize("arm", [True, False])
def test_the_watchdog_spares_a_process_that_ends(arm: bool) -> None:
    codes: list[int] = []
    watchdog = Watchdog(0.05, codes.append)
    if arm:
        watchdog.arm()

    watchdog.disarm()

    assert not threading.Event().wait(0.1)
    assert codes == []
