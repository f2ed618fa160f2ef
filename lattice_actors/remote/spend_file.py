"""What the cloud cost today, on disk: a line for what is set aside, a line for what it came to.

A file for each day of UTC, shared by all servers of one cache directory, and only added to. What
is set aside is on the disk before the request is sent; what it came to need not be, since without
that line the whole amount counts. So a crash at any moment counts too much, never too little.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

import attrs
import msgspec

from .spend import Line

FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
LINE_BYTES = 4096  # no line is as long: what goes on without an end is none

_LINES: msgspec.json.Decoder[list[Line]] = msgspec.json.Decoder(list[Line])


class SpendUnreadable(Exception):
    """What stands in the file was not written by us; nobody knows what was spent."""


@attrs.define(eq=False)
class SpendFile:
    """The files of one folder, as one process sees them. Its methods raise OSError."""

    _folder: Path
    _day: str = attrs.field(init=False, default="")
    _fd: int = attrs.field(init=False, default=-1)
    _read_to: int = attrs.field(init=False, default=0)  # bytes
    _whole: bool = attrs.field(init=False, default=False)  # a torn end was looked for

    def lock(self, day: str, until: ExitStack) -> bool:
        """Keep the other servers from setting something aside, *until* it ends. False: one does."""
        self._open(day)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        until.callback(fcntl.flock, self._fd, fcntl.LOCK_UN)
        if not self._whole:
            self._drop_torn_end()
        return True

    def news(self) -> list[Line]:
        """Return what was added since the last time. Only while it is locked.

        Raises:
            SpendUnreadable: it is not what we write.
        """
        size = os.fstat(self._fd).st_size
        if size < self._read_to:
            raise SpendUnreadable("it has become shorter")
        data = os.pread(self._fd, size - self._read_to, self._read_to)
        end = data.rfind(b"\n") + 1
        try:
            lines = _LINES.decode(b"[" + b",".join(data[:end].splitlines()) + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SpendUnreadable(str(error)) from None
        self._read_to += end
        return lines

    def append(self, day: str, line: Line, *, durably: bool = False) -> None:
        """Add *line*; *durably*: it is on the disk when this returns.

        By a file descriptor of its own, because it is also called in a thread.
        """
        data = msgspec.json.encode(line) + b"\n"
        fd = os.open(self._path(day), FLAGS, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durably:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _path(self, day: str) -> Path:
        return self._folder / f"spend-{day}.jsonl"

    def _open(self, day: str) -> None:
        if day == self._day:
            return
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self._day = -1, ""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(day)
        self._fd = os.open(path, FLAGS, 0o600)
        self._day, self._read_to, self._whole = day, 0, False
        for old in self._folder.glob("spend-*.jsonl"):
            if old.name < path.name:  # dates sort as text
                old.unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # or a crash could take the file with all its lines
        finally:
            os.close(folder)

    def _drop_torn_end(self) -> None:
        """Drop a last line without an end: its writer died before it could count on it."""
        size = os.fstat(self._fd).st_size
        start = max(0, size - LINE_BYTES)
        tail = os.pread(self._fd, size - start, start)
        end = tail.rfind(b"\n") + 1
        if end < len(tail) and (end or start == 0):
            os.ftruncate(self._fd, start + end)
        self._whole = True
