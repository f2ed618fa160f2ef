"""The commands of pages, each run in a fork of one process that has imported what they need.

A page has dozens of commands, and to import all that `lattice-trio` needs takes most of the time
of each. What is forked is a process that has imported it and has begun nothing: no thread, no
loop, no reading of the environment. (huggingface_hub, which reads it on import, is left out.)

`python -m tests.docs.forking SOCKET` is that process. It says on its standard output that it
listens. What a page calls is `asking.py`, which lends its own files, folder and environment.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.stand_in import run

NEEDED = (
    "lattice_bench.command",
    "lattice_http.cli.completion",
    "lattice_http.cli.config",
    "lattice_http.cli.doctor",
    "lattice_http.cli.init",
    "lattice_http.cli.models.command",
    "lattice_http.cli.serve",
    "lattice_http.cli.top",
    "rich.console",
)
MAX_ASKED_BYTES = 1024 * 1024  # arguments and environment of a command
END_S = 10.0


@contextmanager
def forks(environ: dict[str, str]) -> Iterator[str]:
    """Run the process that is forked, in *environ*; yield the command that asks it."""
    with tempfile.TemporaryDirectory(prefix="docs") as folder:  # a short path, as sockets need
        path = Path(folder) / "socket"
        with subprocess.Popen(
            [sys.executable, "-m", "tests.docs.forking", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": folder, **environ},
            start_new_session=True,  # so that the forks can be ended with it
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"listening\n"
                asking = Path(__file__).with_name("asking.py")
                # Isolated and without site: it starts in 10 ms.
                yield shlex.join([sys.executable, "-I", "-S", str(asking), str(path)])
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(END_S)


def main(path: str) -> None:
    """Listen at *path*; fork for each command that comes."""
    for name in NEEDED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose its threads"
    assert "huggingface_hub" not in sys.modules, "it has read the wrong environment"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"listening\n")
        while True:
            asker, _ = listener.accept()
            with asker:
                if os.fork() == 0:
                    listener.close()
                    _be_the_command(asker)


def _be_the_command(asker: socket.socket) -> None:
    """Take the place of the process that asks: its files, folder, environment and arguments."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked, files, _, _ = socket.recv_fds(asker, MAX_ASKED_BYTES, 3)
        argv, folder, environ = json.loads(asked)
        for number, lent in enumerate(files):
            os.dup2(lent, number)
            os.close(lent)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv[1:] = argv
        code = run(argv)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - this process ends here, whatever happened
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asker.sendall(bytes([code & 0xFF]))
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
