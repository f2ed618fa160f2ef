"""`lattice-trio top`: the state in a terminal of any size, and as JSON for scripts."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import attrs
import pytest
from rich.console import Console

from lattice_actors.metrics.patches import without_nulls
from lattice_bench.echo_model import write_echo_model
from lattice_http.cli.program import main
from lattice_http.cli.top_view import screen
from tests.browser.scene import scene
from tests.end_to_end.serving import SOURCES, Served, start

KEY = "correct-horse-battery"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = write_echo_model(tmp_path_factory.mktemp("models") / "echo", step_ms=5)
    own = ("--model-root", str(model.parent), "--engine-module", "lattice_actors.engine.echo")
    served = start(*own, LATTICE_API_KEY=KEY)
    served.wait_until_listening()
    served.client.headers["Authorization"] = f"Bearer {KEY}"
    yield served
    served.client.close()
    served.stop()
    assert served.process.stderr is not None
    served.process.stderr.close()


def command(server: Served, *args: str) -> list[str]:
    return [sys.executable, "-m", "lattice_http", "top", "--base-url", server.url + "/v1", *args]


def top(server: Served, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(server, *args),
        env={"PYTHONPATH": SOURCES, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_top_writes_one_state_for_scripts(server: Served) -> None:
    ran = top(server, "--once", "--json", "--api-key", KEY)

    assert ran.returncode == 0, ran.stderr
    [line] = ran.stdout.splitlines()
    assert json.loads(line)["models"]["echo"]["backend"] == "mlx"


def test_top_draws_one_state_for_people(server: Served) -> None:
    server.chat(model="no such model", max_tokens=0)

    ran = top(server, "--once", "--api-key", KEY)

    assert "echo" in ran.stdout
    assert "invalid_request" in ran.stdout
    assert max(len(line) for line in ran.stdout.splitlines()) <= 100


def test_top_says_why_there_is_nothing(server: Served) -> None:
    ran = top(server, "--once", "--api-key", "wrong")

    assert ran.returncode == 1
    assert "answers 401 (a wrong key, or none: --api-key)" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_top_says_what_to_do_where_nobody_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--base-url", "http://127.0.0.1:9"]) == 1

    said = capsys.readouterr().err
    assert "connect to 127.0.0.1:9 failed; is it running? --base-url names it" in said


@attrs.define
class Terminal:
    """What a program has drawn, and the size it draws for."""

    _end: int
    drawn: str = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.drawn = ""

    def wait_for(self, pattern: str) -> str:
        """Return the first part of what is drawn that fits *pattern*."""
        until = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, self.drawn)) is None:
            readable, _, _ = select.select([self._end], [], [], 0.5)
            if readable:
                self.drawn += os.read(self._end, 1 << 16).decode(errors="replace")
            assert time.monotonic() < until, self.drawn[-2000:]
        return found[0]


@contextmanager
def terminal(columns: int, *program: str) -> Iterator[Terminal]:
    """Run *program* in a terminal; left as somebody leaves who presses Ctrl+C."""
    ours, theirs = pty.openpty()
    shown = Terminal(ours)
    shown.resize(columns)
    environ = {"PYTHONPATH": SOURCES, "TERM": "xterm", "PATH": os.defpath}
    process = subprocess.Popen(
        program, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    )
    os.close(theirs)
    try:
        yield shown
        process.send_signal(2)
        assert process.wait(PATIENCE_S) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_top_is_as_wide_as_its_terminal_also_after_it_was_resized(server: Served) -> None:
    with terminal(70, *command(server, "--api-key", KEY)) as shown:
        # Tables fill the width: so does the line with their title.
        shown.wait_for(r"models {50,66}\S")
        shown.resize(140)
        shown.wait_for(r"models {120,}")
        shown.resize(60)
        shown.wait_for(r"models {40,56}\S")


@pytest.mark.parametrize("width", [48, 80, 160])
def test_a_busy_house_fits_every_width(width: int) -> None:
    state = without_nulls(scene(1e12))
    for name, model in state["models"].items():
        model["model"] = name
    state["swarms"]["s1"]["judge"] = {"model": "Qwen3-8B-4bit", "state": "ok"}
    console = Console(file=StringIO(), width=width, height=200, force_terminal=False)

    console.print(screen(state, "the connection is gone"))

    assert isinstance(console.file, StringIO)
    drawn = console.file.getvalue()
    assert max(len(line) for line in drawn.splitlines()) <= width
    for title in ("the connection is gone", "models", "queue", "swarms", "requests", "refused"):
        assert title in drawn
    if width == 160:
        assert re.search(r"a5 .*batch > normal +8\.1 s", drawn)
        assert re.search(r"best-of-n +running +2 ok, 1 running +Qwen3-8B-4bit ok +The judge", drawn)
