"""From the first signal to the end of the process, each step with a deadline.

    RUNNING --signal--> DRAINING --grace - 3 s--> CUTTING --grace--> ENDING
                           `-------second signal----^  (0.2 s of last words)

DRAINING: nothing new is taken, what runs may finish. CUTTING: each stream says
`server_shutting_down` and ends. ENDING: what is left is cancelled. Should the event loop itself
hang, a plain thread ends the process ten seconds after the grace.
"""

from __future__ import annotations

import enum
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import attrs
import structlog
import trio

from lattice_actors.exit_codes import CUT_OFF, HUNG, OK

LAST_WORDS_S = 3.0  # of the grace, kept for streams to say why they end
HURRIED_WORDS_S = 0.2  # the same after a second signal: somebody is waiting at the terminal
WATCHDOG_S = 10.0  # beyond the grace: engines are reaped by then

log = structlog.get_logger(__name__)


class Stage(enum.IntEnum):
    """How far the end has come; the number is how many events of `Shutdown` are set."""

    RUNNING = 0
    DRAINING = 1
    CUTTING = 2
    ENDING = 3


@attrs.define
class ShutdownPlan:
    """When each stage begins. Pure: the caller brings the clock (seconds) and the signals."""

    grace_s: float = 30.0
    _stage: Stage = attrs.field(init=False, default=Stage.RUNNING)
    _cutting_at: float = attrs.field(init=False, default=float("inf"))
    _ending_at: float = attrs.field(init=False, default=float("inf"))

    def signalled(self, now: float) -> Stage:
        """The first signal starts the grace, a second one ends it; more change nothing."""
        if self._stage is Stage.RUNNING:
            self._stage = Stage.DRAINING
            self._cutting_at = now + max(0.0, self.grace_s - LAST_WORDS_S)
            self._ending_at = now + self.grace_s
        else:
            self._cutting_at = min(self._cutting_at, now)
            self._ending_at = min(self._ending_at, now + HURRIED_WORDS_S)
        return self.stage(now)

    def stage(self, now: float) -> Stage:
        """The stage at *now*; it never goes back."""
        if now >= self._ending_at:
            self._stage = Stage.ENDING
        elif now >= self._cutting_at:
            self._stage = max(self._stage, Stage.CUTTING)
        return self._stage

    def next_change(self) -> float:
        """When to look again; infinity when nothing changes by itself."""
        if self._stage is Stage.DRAINING:
            return self._cutting_at
        return self._ending_at if self._stage is Stage.CUTTING else float("inf")


@attrs.define(eq=False)
class Shutdown:
    """What everything that must end looks at. Each event is set once and stays set."""

    grace_s: float = 30.0
    draining: trio.Event = attrs.field(init=False, factory=trio.Event)
    cutting: trio.Event = attrs.field(init=False, factory=trio.Event)
    ending: trio.Event = attrs.field(init=False, factory=trio.Event)
    cut_off: int = attrs.field(init=False, default=0)  # answers ended before their time
    _plan: ShutdownPlan = attrs.field(init=False)
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)

    @_plan.default
    def _fresh_plan(self) -> ShutdownPlan:
        return ShutdownPlan(self.grace_s)

    def __repr__(self) -> str:
        return f"<Shutdown {self._plan.stage(trio.current_time()).name}, {self.cut_off} cut off>"

    @property
    def exit_code(self) -> int:
        """What the process ends with, as far as answers decide it (`exit_codes`)."""
        return CUT_OFF if self.cut_off else OK

    def begin(self, reason: str) -> None:
        """Begin to stop, or hurry when that had begun. Needs `run` to go further by itself."""
        stage = self._plan.signalled(trio.current_time())
        log.info("shutting down", reason=reason, stage=stage.name.lower(), grace_s=self.grace_s)
        self._show(stage)
        self._changed.set()

    def count_cut(self, answers: int = 1) -> None:
        """Note that answers were ended before their time: the exit code tells."""
        self.cut_off += answers

    async def run(self) -> None:
        """Move through the stages as time passes; return once ENDING is reached."""
        while not self.ending.is_set():
            self._changed = trio.Event()
            with trio.move_on_at(self._plan.next_change()):
                await self._changed.wait()
            self._show(self._plan.stage(trio.current_time()))

    def _show(self, stage: Stage) -> None:
        events = (self.draining, self.cutting, self.ending)
        for event in events[: int(stage)]:
            event.set()


class Watchdog:
    """A plain daemon thread that ends the process when stopping takes too long.

    It sleeps on plain locks from the start, so it works when the event loop does not.
    """

    def __init__(self, timeout_s: float, exit_now: Callable[[int], object] = os._exit) -> None:
        self._timeout_s = timeout_s
        self._exit_now = exit_now
        self._armed = threading.Event()
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="shutdown watchdog", daemon=True).start()

    def arm(self) -> None:
        """Start the countdown; safe in a signal handler."""
        self._armed.set()

    def disarm(self) -> None:
        """The process ends by itself."""
        self._over.set()
        self._armed.set()

    def _watch(self) -> None:
        self._armed.wait()
        if not self._over.wait(self._timeout_s):
            self._exit_now(HUNG)


@contextmanager
def signals_received(
    numbers: Iterable[signal.Signals], received: Callable[[str], None], watchdog: Watchdog
) -> Iterator[None]:
    """Call *received* on the Trio loop for each signal, and arm the watchdog at once.

    Not `trio.open_signal_receiver`: the watchdog must hear of it also when the loop is stuck.
    """
    token = trio.lowlevel.current_trio_token()

    def handler(number: int, frame: FrameType | None) -> None:
        watchdog.arm()
        token.run_sync_soon(received, signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


async def watch_signals(
    shutdown: Shutdown,
    *,
    watchdog: Watchdog | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Turn SIGTERM and SIGINT into the stages of *shutdown*, until cancelled; main thread only.

    The handlers stay beyond ENDING: a signal that comes then must not kill the process half way
    through. A *watchdog* of the caller's is armed here and disarmed by the caller, once everything
    has been reaped; without one, the countdown covers the time until the cancellation.
    """
    own = Watchdog(shutdown.grace_s + WATCHDOG_S) if watchdog is None else None
    try:
        armed = watchdog or own
        assert armed is not None
        with signals_received((signal.SIGTERM, signal.SIGINT), shutdown.begin, armed):
            task_status.started()
            await shutdown.run()
            await trio.sleep_forever()
    finally:
        if own is not None:
            own.disarm()
