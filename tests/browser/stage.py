"""The page's files under an address of their own, and a feed that a test plays by hand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
from playwright.sync_api import Page, Route, WebSocketRoute

STATIC = Path(__file__).resolve().parents[2] / "dashboard_ws" / "lattice_dashboard" / "static"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
)


class _Files(BaseHTTPRequestHandler):
    """The files of the page, and the cases of its modules."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix("/dashboard/") or "index.html"
        file = Path(__file__).parent / name if name == "pure.mjs" else STATIC / name
        unasked = name == "/favicon.ico"  # what browsers want of a page that names none
        self.send_response(200 if file.is_file() else 204 if unasked else 404)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Type", TYPES.get(file.suffix, "text/plain"))
        self.end_headers()
        if file.is_file():
            self.wfile.write(file.read_bytes())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


class _Broken(BaseHTTPRequestHandler):
    """An upstream that has a model, and fails whoever asks it."""

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": [{"id": "clay", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(500, {"error": {"message": "it came out of the kiln in pieces"}})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def serve_files() -> Iterator[str]:
    """Serve them from a thread; return the address."""
    with _serve(_Files) as address:
        yield address


@contextmanager
def serve_failures() -> Iterator[str]:
    """Serve an upstream whose one model, clay, never answers; return the address."""
    with _serve(_Broken) as address:
        yield address


@contextmanager
def _serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@attrs.define(eq=False, slots=False)  # Playwright marks the listeners it wraps
class Stage:
    """What the page finds where a server would be."""

    page: Page
    address: str
    answers: dict[str, tuple[int, Any]] = attrs.field(factory=dict)  # by path
    asked: list[tuple[str, str, Any]] = attrs.field(factory=list)  # method, path, JSON
    hellos: list[dict[str, Any]] = attrs.field(factory=list)
    sockets: list[WebSocketRoute] = attrs.field(factory=list)
    greeting: Any = None  # the state that a connection begins with; None: silence
    refuses_with: int | None = None  # a close code
    seq: int = 0

    def __attrs_post_init__(self) -> None:
        for below in ("v1", "swarm", "dashboard/api"):
            self.page.route(f"{self.address}/{below}/**", self._answer)
        self.page.route_web_socket("**/dashboard/ws", self._connect)

    def open(self, view: str = "") -> None:
        self.page.goto(f"{self.address}/dashboard/{view}")

    def send(self, message: dict[str, Any]) -> None:
        self.sockets[-1].send(json.dumps(message))

    def snapshot(self, state: dict[str, Any]) -> None:
        self.seq += 1
        at_ms = round(time.time() * 1000)
        self.send({"type": "snapshot", "seq": self.seq, "at_ms": at_ms, "state": state})

    def delta(self, patch: dict[str, Any], *, skip: int = 0) -> None:
        base = self.seq + skip
        self.seq = base + 1
        at_ms = round(time.time() * 1000)
        self.send({"type": "delta", "seq": self.seq, "base": base, "at_ms": at_ms, "patch": patch})

    def _answer(self, route: Route) -> None:
        request = route.request
        path = request.url.removeprefix(self.address).partition("?")[0]
        body = json.loads(request.post_data) if request.post_data else None
        self.asked.append((request.method, path, body))
        status, answer = self.answers[path]
        route.fulfill(status=status, json=answer)

    def _connect(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)

        def heard(message: str | bytes) -> None:
            self.hellos.append(json.loads(message))
            if self.refuses_with is not None:
                socket.close(code=self.refuses_with)
            elif self.greeting is not None:
                self.snapshot(self.greeting)

        socket.on_message(heard)
