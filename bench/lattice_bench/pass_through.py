"""What a gateway's place in front of an upstream costs, and how soon it leaves it.

    python -m lattice_bench.pass_through [ROUNDS]

Three figures, on the loopback, in front of a server that only writes (`source.py`), so that no
model's time is in them. The direct and the passed requests take turns, on connections that are
kept, so that what else the machine does falls on both:

- the first token and the whole answer of 16 tokens, direct and passed, and the difference;
- how long after a client has closed its connection the upstream's side of the other is closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

from .source import END, HEAD, TOKEN

TOKENS = 16
LEAVES = 50
LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Client:
    """One kept connection."""

    def __init__(self, port: int, model: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True}
        content = json.dumps({**body, "max_tokens": TOKENS}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._request = head.encode() + content

    def send(self) -> None:
        self._socket.sendall(self._request)

    def first(self) -> bytes:
        """Return what came, up to a piece of the answer."""
        got = b""
        while b'"content":' not in got:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError(got[:500])
            got += data
        return got

    def ask(self) -> tuple[float, float]:
        """Return the milliseconds to the first token and to the end."""
        start = time.perf_counter()
        self.send()
        got = self.first()
        first = time.perf_counter()
        while not got.endswith(END):
            got = got[-8:] + self._socket.recv(65536)
        return 1e3 * (first - start), 1e3 * (time.perf_counter() - start)

    def close(self) -> None:
        self._socket.close()


class Watching:
    """An upstream of one answer at a time, which never ends, and the time when it is left."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.left_at, self.left = 0.0, Event()
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if connection.recv(65536).startswith(b"GET "):
                connection.sendall(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
                return
            connection.sendall(HEAD + TOKEN)
            while True:
                select.select([connection], [], [])
                if not connection.recv(65536):
                    break
        self.left_at = time.perf_counter()
        self.left.set()


@contextlib.contextmanager
def gateway(**upstreams: int) -> Iterator[int]:
    """Run lattice-trio in front of these ports; its own port."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "lattice.toml")
        config.write_text(
            "".join(
                f'[[upstream]]\nname = "{name}"\nurl = "http://127.0.0.1:{port}"\nmodels = ["m"]\n'
                for name, port in upstreams.items()
            )
        )
        command = [sys.executable, "-m", "lattice_http", "serve", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--config", str(config), "--model-root", folder],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LATTICE_LOG_LEVEL": "error"},
        )
        try:
            assert process.stderr is not None
            found = next(filter(None, map(LISTENING.search, process.stderr)))
            rest = process.stderr
            Thread(target=lambda: [None for _ in rest], daemon=True).start()
            time.sleep(2.0)  # it has looked at its upstreams
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(30)


def difference(direct: Client, passed: Client, rounds: int) -> None:
    """Say what passing adds."""
    for client in (direct, passed) * 10:
        client.ask()
    pairs = [(direct.ask(), passed.ask()) for _ in range(rounds)]
    for place, what in enumerate(("first token", f"{TOKENS} tokens")):
        there = statistics.median(one[place] for one, _ in pairs)
        through = [two[place] for _, two in pairs]
        here = statistics.median(through)
        slowest = statistics.quantiles(through, n=100)[98]
        say(
            f"{what}: direct {there:.2f} ms, passed {here:.2f} ms, adds {here - there:.2f} ms "
            f"(medians; p99 of passed {slowest:.2f} ms)"
        )


def leaving(port: int, upstream: Watching) -> None:
    """Say how soon the upstream is left."""
    took = []
    for _ in range(LEAVES):
        upstream.left.clear()
        client = Client(port, "endless/m")
        client.send()
        client.first()
        start = time.perf_counter()
        client.close()
        assert upstream.left.wait(10), "it was not left"
        took.append(1e3 * (upstream.left_at - start))
    median, longest = statistics.median(took), max(took)
    say(f"left after: median {median:.1f} ms, longest {longest:.1f} ms of {LEAVES}")


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 500
    watching = Watching()
    # In a process of its own: the threads of this one would wait for each other.
    source = subprocess.Popen(
        [sys.executable, "-m", "lattice_bench.source"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert source.stderr is not None
        found = LISTENING.search(source.stderr.readline())
        assert found is not None
        with gateway(source=int(found[1]), endless=watching.port) as port:
            difference(Client(int(found[1]), "m"), Client(port, "source/m"), rounds)
            leaving(port, watching)
    finally:
        source.terminate()
        source.wait(10)


if __name__ == "__main__":
    main()
