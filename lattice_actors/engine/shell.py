"""What every engine process has around its model: its one argument, its reader, its end.

Imports nothing heavy: the echo engine starts in some 40 ms.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn, Protocol

from . import frames
from .frames import HEADER_BYTES, MAX_COMMAND_BYTES
from .outbox import EXIT_GATEWAY_GONE

EXIT_BAD_FRAME = 4
EXIT_STEPS_FAIL = 5
LOOK_FOR_PARENT_S = 5.0  # only matters if some other process keeps the gateway's socket open
OFFLINE = {
    "HF_HUB_OFFLINE": "1",  # a model is a directory here; nothing may be fetched behind our back
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",  # its threads would compete with the engine's
}


def listen(sock: socket.socket, take: Callable[[frames.Command], None]) -> NoReturn:
    """Take commands until the gateway has gone. The end of this thread ends the process.

    One that no longer listens is worse than none.
    """
    try:
        with sock.makefile("rb") as stream:
            while len(header := stream.read(HEADER_BYTES)) == HEADER_BYTES:
                length = frames.body_length(header, MAX_COMMAND_BYTES)
                if len(body := stream.read(length)) < length:
                    break
                take(frames.decode_command(body))
    except OSError:
        os._exit(EXIT_GATEWAY_GONE)
    except BaseException:  # noqa: BLE001 - see above
        sys.stderr.write("engine: unreadable frame\n")
        traceback.print_exc()
        os._exit(EXIT_BAD_FRAME)
    os._exit(EXIT_GATEWAY_GONE)


def exit_with_parent(parent: int) -> None:
    """End the process when *parent* has gone."""
    # Not PR_SET_PDEATHSIG: that fires at the end of the thread that started us.
    while os.getppid() == parent:
        time.sleep(LOOK_FOR_PARENT_S)
    os._exit(EXIT_GATEWAY_GONE)


class Engine(Protocol):
    """What is behind one socket."""

    def run(self) -> NoReturn: ...


def main(make: Callable[[socket.socket], Engine]) -> NoReturn:
    """Run what *make* returns on the socket whose descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print; it belongs in the log
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(True)
    make(sock).run()
