"""A server that only writes: ready-made answers as fast as the sockets take them.

    python -m lattice_bench.source [PORT [TOKENS_A_SECOND]]

What the bench measures against it is its own ceiling and the floor of the loopback; a figure of a
gateway means something only well below the one and above the other. With TOKENS_A_SECOND each
stream is paced, as that of a model would be. Threads and blocking sockets,
one write an event, as a gateway would.
"""

from __future__ import annotations

import json
import socketserver
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
READY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
END = b"0\r\n\r\n"


def chunk(value: object) -> bytes:
    """Return one event as one HTTP chunk."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def completion(choices: list[object], **more: object) -> dict[str, object]:
    """Return a chunk object of the size that servers really send."""
    return {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "source",
        "choices": choices,
        **more,
    }


# They differ, and are equally long: some gateways break a stream off that repeats itself.
TOKENS = [
    chunk(completion([{"index": 0, "delta": {"content": word}, "finish_reason": None}]))
    for word in (" word", " some", " text", " more")
]
TOKEN = TOKENS[0]
LAST = chunk(completion([{"index": 0, "delta": {}, "finish_reason": "length"}]))


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer request after request; GET is ready, POST is `max_tokens` events."""
        assert isinstance(self.server, Source)
        pause_s = self.server.pause_s
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if line.startswith(b"GET "):
                self.wfile.write(READY)
                continue
            tokens = json.loads(self.rfile.read(length))["max_tokens"]
            usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
            self.wfile.write(HEAD + TOKENS[0])
            for number in range(1, tokens):
                if pause_s:
                    time.sleep(pause_s)
                self.wfile.write(TOKENS[number % len(TOKENS)])
            self.wfile.write(LAST + chunk(completion([], usage=usage)) + chunk("[DONE]") + END)


class Source(socketserver.ThreadingTCPServer):
    """Listens on the loopback; port 0 is any free one."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0, pause_s: float = 0.0) -> None:
        """*pause_s*: before each event but the first."""
        self.pause_s = pause_s
        super().__init__(("127.0.0.1", port), Handler)


def main() -> None:
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    pause_s = 1 / float(sys.argv[2]) if sys.argv[2:] else 0.0
    with Source(port, pause_s) as source:
        sys.stderr.write(f"listening on http://127.0.0.1:{source.server_address[1]}\n")
        sys.stderr.flush()
        source.serve_forever()


if __name__ == "__main__":
    main()
