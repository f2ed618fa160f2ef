"""A real server in a process of its own, and what tests want to know of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2

LISTENING = re.compile(r"listening on (http://\S+)")
START_S = 60.0
KEPT = ("PATH", "HOME", "TMPDIR", "OPENBLAS_NUM_THREADS")  # of the environment of the tests
ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = os.pathsep.join(str(ROOT / root) for root in (".", "http", "dashboard_ws", "bench"))


@attrs.define(eq=False)
class Served:
    """A running `lattice-trio serve`."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = attrs.field(factory=list)
    client: httpx2.Client = attrs.field(factory=lambda: httpx2.Client(timeout=120, trust_env=False))
    _listening: threading.Event = attrs.field(factory=threading.Event)

    def follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = LISTENING.search(line)
            if found:
                self.url = found[1]
                self._listening.set()
        self._listening.set()

    def wait_until_listening(self) -> None:
        assert self._listening.wait(START_S), "it did not say that it listens"
        assert self.url, "\n".join(self.lines)

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return self.client.get(self.url + path).json()

    def chat(self, **fields: object) -> httpx2.Response:
        """Ask, without a stream unless told; *fields* replace the ordinary ones."""
        body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], **fields}
        return self.client.post(self.url + "/v1/chat/completions", json=body)

    def engine_pid(self, model: str | None = None) -> int:
        """The process of the one resident model, or of the one named."""
        models = self.get("/v1/state")["models"].values()
        pids = [m["pid"] for m in models if m.get("pid") and model in (None, m["model"])]
        assert len(pids) == 1, models
        return int(pids[0])

    def running(self) -> int:
        return int(self.get("/v1/queue")["running_total"])

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 40) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """End it, if it still runs, and close what the test holds of it."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def eventually(told: Callable[[], bool], within_s: float = 10.0) -> float:
    """Wait until *told* says so; return how long it took."""
    start = time.monotonic()
    while not told():
        assert time.monotonic() - start < within_s, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - start


def start(*args: str, **environ: str) -> Served:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    port = () if "--port" in args else ("--port", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "lattice_http", "serve", *port, *args],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**kept, "PYTHONPATH": SOURCES, **environ},
        cwd=kept.get("TMPDIR", "/"),
    )
    served = Served(process)
    threading.Thread(target=served.follow, daemon=True).start()
    return served


@contextmanager
def servers() -> Iterator[Callable[..., Served]]:
    """Yield what starts a server and waits until it listens; all are ended on leaving."""
    started: list[Served] = []

    def serve(*args: str, **environ: str) -> Served:
        served = start(*args, **environ)
        started.append(served)
        served.wait_until_listening()
        return served

    try:
        yield serve
    finally:
        for served in started:
            served.end()


def ask_by_hand(url: str, path: str = "/v1/chat/completions", /, **fields: object) -> socket.socket:
    """Send a request on a socket of our own, and leave the answer unread."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    content = json.dumps(fields).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection
