"""How a pull is shown: a bar where somebody watches, lines where the output is kept."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .text import size

STEPS = 10  # lines of a whole pull where nobody watches


@attrs.define(eq=False)
class PullProgress:
    """Writes to *console* (standard error); use it as a context manager."""

    _console: Console
    _bar: Progress = attrs.field(init=False)
    _task: TaskID | None = attrs.field(init=False, default=None)
    _total_bytes: int = attrs.field(init=False, default=0)
    _got_bytes: int = attrs.field(init=False, default=0)
    _told: int = attrs.field(init=False, default=0)  # steps of STEPS

    @_bar.default
    def _new_bar(self) -> Progress:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        return Progress(*columns, console=self._console, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def say(self, line: str) -> None:
        """One line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def begin(self, total_bytes: int) -> None:
        """So much is to come."""
        self._total_bytes = total_bytes
        if self._console.is_terminal:
            self._task = self._bar.add_task("", total=total_bytes)

    def advance(self, count: int) -> None:
        """So many bytes more are there."""
        self._got_bytes += count
        if self._task is not None:
            self._bar.advance(self._task, count)
            return
        step = self._got_bytes * STEPS // max(1, self._total_bytes)
        if step > self._told:
            self._told = step
            self.say(f"{size(self._got_bytes)} of {size(self._total_bytes)}")
