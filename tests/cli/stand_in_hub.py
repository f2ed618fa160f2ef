"""A stand-in for the hub: as much of its API as huggingface_hub needs for a download."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import attrs

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 200  # what is larger is "LFS": its checksum is known, and it comes by a redirect


@attrs.define(eq=False)
class StandIn:
    """Repositories and their faults; what was asked for is kept."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = attrs.field(factory=dict[str, dict[str, bytes]])
    gated: set[str] = attrs.field(factory=set[str])  # listed, but their files need a token
    private: set[str] = attrs.field(factory=set[str])
    token: str = "hf_good"
    cut_after: dict[str, int] = attrs.field(factory=dict[str, int])  # bytes of a file, once
    damaged: set[str] = attrs.field(factory=set[str])
    ignores_ranges: bool = False
    broken_with: int | None = None  # status of every answer
    asked: list[tuple[str, str, str | None]] = attrs.field(
        factory=list[tuple[str, str, "str | None"]]
    )  # method, path, Range

    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        return [
            path.rpartition("/")[2]
            for method, path, _ in self.asked
            if method == "GET" and "/resolve/" in path
        ]

    def ranges(self) -> list[str]:
        return [span for method, _, span in self.asked if method == "GET" and span is not None]


def listing(repo: str, files: Mapping[str, bytes]) -> bytes:
    """Return the answer to ``/api/models/REPO/revision/REVISION?blobs=True``."""
    siblings = []
    for name, content in files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        about: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
        if len(content) > LARGE_BYTES:
            digest = hashlib.sha256(content).hexdigest()
            about["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 133}
        siblings.append(about)
    return json.dumps(
        {
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "private": False,
            "gated": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.hub
        path = unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range")))
        if hub.broken_with is not None:
            return self._send(hub.broken_with, b"{}", with_body=with_body)
        knows = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if path.startswith("/api/models/"):
            repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            if repo not in hub.repositories or (repo in hub.private and not knows):
                # Missing and private look the same to those who may not know.
                return self._error(404 if knows else 401, "RepoNotFound", with_body)
            if revision not in ("main", COMMIT):
                return self._error(404, "RevisionNotFound", with_body)
            return self._send(200, listing(repo, hub.repositories[repo]), with_body=with_body)
        if path.startswith("/cdn/"):
            repo, _, name = path.removeprefix("/cdn/").partition("//")
            return self._content(name, hub.repositories[repo][name], with_body=with_body)
        repo, found, rest = path[1:].partition("/resolve/")
        if not found:
            return self._error(404, "NotFound", with_body)
        commit, _, name = rest.partition("/")
        assert commit == COMMIT, "every file is of the commit that was listed"
        if repo in hub.gated and not knows:
            return self._error(
                403 if self.headers.get("Authorization") else 401, "GatedRepo", with_body
            )
        content = hub.repositories[repo][name]
        if len(content) > LARGE_BYTES:
            digest = hashlib.sha256(content).hexdigest()
            location = f"{hub.url}/cdn/{repo}//{name}"
            linked = {"X-Linked-Etag": digest, "X-Linked-Size": str(len(content))}
            headers = {"Location": location, **linked}
            return self._send(302, b"", with_body=with_body, headers=headers)
        return self._content(name, content, with_body=with_body)

    def _content(self, name: str, content: bytes, *, with_body: bool) -> None:
        if name in self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        span, status, headers = self.headers.get("Range"), 200, dict[str, str]()
        if span is not None and not self.hub.ignores_ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        self._send(
            status,
            content,
            with_body=with_body,
            headers=headers,
            cut=self.hub.cut_after.pop(name, None),
        )

    def _error(self, status: int, code: str, with_body: bool) -> None:
        self._send(status, b"{}", with_body=with_body, headers={"X-Error-Code": code})

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        with_body: bool,
        cut: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, "ETag": '"e"', **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True  # in the middle of the body

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve a hub without repositories on this machine."""
    hub = StandIn()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
