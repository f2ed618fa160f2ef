"""A server in a process of its own: started, watched and stopped by the bench."""

from __future__ import annotations

import re
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from os import sysconf
from pathlib import Path

import attrs
import trio

from .http1 import BadResponse, Connection

LISTENING = re.compile(r"listening.*?(https?://[^\s\"',]+)")
START_S = 60.0  # longer than any start we would publish
STOP_S = 10.0  # after SIGTERM; then it is killed
POLL_S = 0.01
LOG_LINES = 30  # of the server's log, for the message when it does not start


class NotStarted(Exception):
    """The server did not come up; the text ends with its last lines."""


@attrs.frozen
class Usage:
    """What a process has taken from the machine, its children not counted."""

    rss_bytes: int
    cpu_s: float  # user and system, since its start


@attrs.define(eq=False)
class Server:
    """A running server."""

    pid: int
    url: str
    start_s: float  # from its launch to its word that it listens
    ready_s: float  # from its launch to the first 200 of /readyz


@asynccontextmanager
async def serving(
    command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Server]:
    """Run *command* for the block; it must say "listening on URL" on its stderr.

    *env* and *cwd* are as `subprocess.Popen` takes them.

    Raises:
        NotStarted: it ended, or was not ready within `START_S`.
    """
    begun = trio.current_time()
    process = await trio.lowlevel.open_process(
        list(command),
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    log: deque[str] = deque(maxlen=LOG_LINES)
    try:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(_follow, process, log)
            server = Server(process.pid, url, trio.current_time() - begun, 0.0)
            await _until_ready(url)
            server.ready_s = trio.current_time() - begun
            yield server
            nursery.cancel_scope.cancel(reason="the measurement is over")
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
            if process.returncode is None:
                process.terminate()
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _follow(
    process: trio.Process, log: deque[str], task_status: trio.TaskStatus[str]
) -> None:
    """Read the log for as long as it comes, so that the server never blocks on it."""
    assert process.stderr is not None
    rest, told = "", False
    with trio.move_on_after(START_S) as patience:
        async for data in process.stderr:
            *lines, rest = (rest + data.decode("utf-8", "replace")).split("\n")
            log.extend(lines)
            if not told and (found := next(filter(None, map(LISTENING.search, lines)), None)):
                told = True
                patience.deadline = float("inf")
                task_status.started(found[1])
    if not told:
        raise NotStarted("\n".join(["the server does not say that it listens:", *log]))


async def _until_ready(url: str) -> None:
    connection = Connection(url)
    with trio.move_on_after(START_S):
        while True:
            try:
                status = (await connection.request("GET", "/readyz")).status
                await connection.read()
                if status == 200:
                    return
            except (OSError, BadResponse, trio.BrokenResourceError):
                pass
            finally:
                await connection.aclose()
            await trio.sleep(POLL_S)
    raise NotStarted(f"/readyz of the server did not say 200 within {START_S:g} s")


def usage(pid: int) -> Usage:
    """Return what process *pid* holds and has used; raises `ProcessLookupError`."""
    proc = Path("/proc") / str(pid)
    if not Path("/proc/self/stat").exists():
        return _usage_by_ps(pid)
    try:
        stat = (proc / "stat").read_text()
        pages = int((proc / "statm").read_text().split()[1])
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    ticks = int(fields[11]) + int(fields[12])  # utime, stime; proc(5)
    return Usage(pages * sysconf("SC_PAGE_SIZE"), ticks / sysconf("SC_CLK_TCK"))


def _usage_by_ps(pid: int) -> Usage:
    """Where there is no /proc: the BSD ps of macOS."""
    command = ["ps", "-o", "rss=,time=", "-p", str(pid)]
    words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if len(words) != 2:
        raise ProcessLookupError(f"no process {pid}")
    return Usage(int(words[0]) * 1024, clock_s(words[1]))


def clock_s(text: str) -> float:
    """Return the seconds of ``[days-][hours:]minutes:seconds``, as ps prints CPU time."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days or 0)
