"""Reports on their way to the gateway, sent without holding up a step.

A report goes straight to the socket while that takes it. What it does not take waits for a
thread of its own, up to `MAX_UNSENT_BYTES`; beyond that a sender waits, for a gateway that does
not read any more needs no more tokens either.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import NoReturn

from .frames import Report, encode

MAX_UNSENT_BYTES = 8 * 1024 * 1024  # minutes of text of many streams
WRITE_BYTES = 256 * 1024
EXIT_GATEWAY_GONE = 3


class Outbox:
    """The sending side of the socket, for several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unsent = bytearray()  # while not empty, only the thread writes: order is kept
        self._changed = threading.Condition()
        threading.Thread(target=self._write, name="outbox", daemon=True).start()

    def send(self, *reports: Report, may_wait: bool = True) -> None:
        """Send all in one write. *may_wait* False: never block, whatever the bound."""
        data = b"".join(map(encode, reports))
        with self._changed:
            if not self._unsent:
                data = data[self._send_now(data) :]
                if not data:
                    return
            while may_wait and len(self._unsent) > MAX_UNSENT_BYTES:
                self._changed.wait()
            self._unsent += data
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is in the socket."""
        with self._changed:
            while self._unsent:
                self._changed.wait()

    def _send_now(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            os._exit(EXIT_GATEWAY_GONE)

    def _write(self) -> NoReturn:
        while True:
            with self._changed:
                while not self._unsent:
                    self._changed.wait()
                chunk = bytes(self._unsent[:WRITE_BYTES])
            try:
                written = self._sock.send(chunk)
            except OSError:
                os._exit(EXIT_GATEWAY_GONE)
            with self._changed:
                del self._unsent[:written]
                self._changed.notify_all()
