"""The operating-system process of an engine: how it is started, what it says, how it ends.

It is asked to go, then told, then killed; it is always reaped. Memory counts as free after that.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import attrs
import structlog
import trio

from . import frames

BYE_GRACE_S = 2.0  # an engine that does not exit by itself within this gets SIGTERM
TERM_GRACE_S = 1.0  # and after this SIGKILL
LINE_CHARS = 2000  # of a line of stderr, at the most
LINE_BYTES = 256 * 1024  # a line without an end is cut off at this

log = structlog.get_logger(__name__)


@attrs.frozen
class Child:
    """One process that has been started; `end` it once."""

    name: str  # of the model, for the log
    _process: trio.Process

    @classmethod
    async def start(
        cls, name: str, module: str, environ: Mapping[str, str], sock: socket.socket
    ) -> Child:
        """Run *module* with *sock* as its end of the connection. Raises OSError."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", module, str(sock.fileno())],
            pass_fds=[sock.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is ours to handle, not the engine's
            env={**os.environ, **environ},
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Its number, for people."""
        return self._process.pid

    async def keep_log(self, lines: deque[str]) -> None:
        """Put the lines of its stderr into *lines* and into the log, until it has ended."""
        assert self._process.stderr is not None
        rest = b""
        async for data in self._process.stderr:
            *whole, rest = (rest + data).split(b"\n")
            rest = rest[-LINE_BYTES:]
            for line in whole:
                text = line[:LINE_CHARS].decode(errors="replace")
                lines.append(text)
                log.info("engine", model=self.name, line=text)

    def write_stacks(self) -> None:
        """Have it write the stacks of its threads to stderr (faulthandler)."""
        self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it now; nothing where it has ended."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self, sock: trio.SocketStream, reason: str, *, wanted: bool) -> int:
        """Ask (where it is *wanted*), wait, kill, reap; return its code. Closes *sock*.

        The closed socket alone ends a healthy engine in 50 ms.
        """
        process = self._process
        if wanted:
            # An engine that has just died cannot be asked; it is reaped all the same.
            with trio.move_on_after(BYE_GRACE_S), suppress(trio.BrokenResourceError):
                await sock.send_all(frames.encode(frames.Bye()))
                await process.wait()
        await trio.aclose_forcefully(sock)
        if process.returncode is None:
            if wanted:
                process.terminate()
            with trio.move_on_after(TERM_GRACE_S):
                await process.wait()
        if process.returncode is None:
            log.warning("engine killed", model=self.name, pid=process.pid, reason=reason)
            process.kill()
        code = await process.wait()
        if process.stderr is not None:
            await process.stderr.aclose()
        return code
