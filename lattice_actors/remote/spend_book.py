"""The counter of what the cloud costs, kept over restarts where there is a folder for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import structlog
import trio

from .spend import Held, Spend, SpendView, TokenCounts
from .spend_file import SpendFile, SpendUnreadable

LOCK_PAUSE_S = 0.01  # between two tries for the lock: another server holds it for one fsync
LOCK_S = 5.0

FAILURES = (OSError, SpendUnreadable, trio.TooSlowError)
UNKNOWN = (
    "what the cloud has cost today is not known, so the daily cap (anthropic_daily_cap_usd) "
    "cannot hold: the record of it cannot be used, and the server's log says why"
)

log = structlog.get_logger(__name__)


class SpendUnknown(Exception):
    """There is a cap, and nobody knows what was spent. The message is for the caller."""


@attrs.define(eq=False)
class SpendBook:
    """Sets aside and settles, in memory and on disk. Without a *folder*: in memory alone."""

    spend: Spend
    _folder: Path | None = None
    _file: SpendFile | None = attrs.field(init=False)
    _one: trio.Lock = attrs.field(init=False, factory=trio.Lock)
    _warned: str = attrs.field(init=False, default="")

    def __attrs_post_init__(self) -> None:
        self._file = SpendFile(self._folder) if self._folder is not None else None

    async def look(self, unix_now: float) -> None:
        """Read what was spent today before this server began; what is wrong is in the log."""
        if self._file is None:
            return
        try:
            async with self._up_to_date(self._file, unix_now):
                pass
        except FAILURES as error:
            self._warn(error)

    async def hold(self, model: str, prompt_tokens: int, max_tokens: int, unix_now: float) -> Held:
        """Set aside the most that a request can cost, before it is sent.

        Raises:
            CapReached, NoPrice: see `Spend.hold`.
            SpendUnknown: there is a cap, and no record that it can be kept by.
        """
        spend, file = self.spend, self._file
        if file is None:
            return spend.hold(model, prompt_tokens, max_tokens, unix_now)
        try:
            async with self._up_to_date(file, unix_now) as day:
                held = spend.hold(model, prompt_tokens, max_tokens, unix_now)
                try:
                    write = partial(file.append, day, held.line, durably=True)
                    await trio.to_thread.run_sync(write)
                except BaseException:
                    spend.give_back(held)
                    raise
                return held
        except FAILURES as error:
            self._warn(error)
            if spend.cap_micros is not None:
                raise SpendUnknown(UNKNOWN) from None
            return spend.hold(model, prompt_tokens, max_tokens, unix_now)

    def settle(self, held: Held, unix_now: float, counted: TokenCounts) -> None:
        """Give back what was set aside, and count what it came to. Never waits, never fails."""
        line = self.spend.settle(held, unix_now, counted)
        if self._file is None:
            return
        try:
            self._file.append(self.spend.day(unix_now), line)
        except OSError as error:
            self._warn(error)  # on the disk the whole amount stays set aside

    def view(self, unix_now: float) -> SpendView:
        """Return what is shown."""
        return self.spend.view(unix_now)

    @asynccontextmanager
    async def _up_to_date(self, file: SpendFile, unix_now: float) -> AsyncIterator[str]:
        """Hold the lock, knowing what the other servers have written; yields the day."""
        async with self._one:
            day = self.spend.day(unix_now)
            with ExitStack() as locked:
                with trio.fail_after(LOCK_S):
                    while not file.lock(day, locked):  # noqa: ASYNC110 - another process has it
                        await trio.sleep(LOCK_PAUSE_S)
                for line in file.news():
                    self.spend.take(line)
                yield day

    def _warn(self, error: Exception) -> None:
        """Say it once for each reason, not with each request."""
        problem = str(error) or type(error).__name__
        if problem != self._warned:
            log.error("record of what the cloud costs", folder=str(self._folder), problem=problem)
        self._warned = problem
