"""What a gateway's place in front of an upstream costs, and how soon it leaves it.

    python -m lattice_bench.pass_through [ROUNDS]

Three figures, on the loopback, in front of a server that only writes (`source.py`), so that no
model's time is in them. The direct and the passed requests take turns, on connections that are
kept, so that what else the machine does falls on both:

- the first token and the whole answer of 16 tokens, direct and passed, and the difference;
- how long after a client has closed its connection, or the last of many, the upstream's side of the
  other is closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from .source import END, HEAD, TOKEN

TOKENS = 16
LEAVES = 50
BURST = 64  # clients that leave together,
BURSTS = 15  # so often
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
    """An upstream whose answers never end, and the times when they are left."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2 * BURST)
        self.port: int = self._listener.getsockname()[1]
        self.left: SimpleQueue[float] = SimpleQueue()
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        """In one thread: threads of their own would wait for each other, and not for a socket."""
        waiting = selectors.DefaultSelector()
        waiting.register(self._listener, selectors.EVENT_READ)
        asked = set[socket.socket]()
        while True:
            for key, _ in waiting.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._listener:
                    waiting.register(ready.accept()[0], selectors.EVENT_READ)
                    continue
                with contextlib.suppress(OSError):
                    if data := ready.recv(65536):
                        self._answer(ready, data, asked)
                        continue
                if ready in asked:
                    asked.discard(ready)
                    self.left.put(time.perf_counter())
                waiting.unregister(ready)
                ready.close()

    def _answer(self, client: socket.socket, data: bytes, asked: set[socket.socket]) -> None:
        if data.startswith(b"GET "):
            client.sendall(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        elif client not in asked:
            asked.add(client)
            client.sendall(HEAD + TOKEN)


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


def leaving(port: int, upstream: Watching, clients: int, rounds: int) -> None:
    """Say how soon the upstream is left, by the last of so many *clients* that go together."""
    took = []
    for _ in range(rounds):
        together = [Client(port, "endless/m") for _ in range(clients)]
        for client in together:
            client.send()
        for client in together:
            client.first()
        time.sleep(0.05)  # what came with the first token is over
        start = time.perf_counter()
        for client in together:
            client.close()
        took.append(max(1e3 * (upstream.left.get(timeout=10) - start) for _ in together))
    median, longest = statistics.median(took), max(took)
    who = "one" if clients == 1 else f"the last of {clients} at once"
    say(f"left by {who} after: median {median:.1f} ms, longest {longest:.1f} ms of {rounds}")


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
            leaving(port, watching, 1, LEAVES)
            leaving(port, watching, BURST, BURSTS)
    finally:
        source.terminate()
        source.wait(10)


if __name__ == "__main__":
    main()
