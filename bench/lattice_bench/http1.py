"""Just enough HTTP/1.1 to read answers at the speed of the loopback, over Trio streams.

A general client costs more per streamed token than the gateway it is to measure. So h11 writes
the request and reads the head of the response, and only the body, where all the work is, is taken
apart here: `BodyReader` knows its three framings (RFC 9112, section 6).
"""

from __future__ import annotations

import select
import ssl
from urllib.parse import SplitResult, urlsplit

import attrs
import h11
import trio

READ_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_SIZE_LINE_BYTES = 4096  # a chunk size with its extensions


class BadResponse(Exception):
    """The peer does not speak HTTP/1.1, or stopped in the middle of an answer."""


@attrs.define
class BodyReader:
    """Takes the framing off a response body."""

    length: int | None  # bytes; -1: chunked; None: until the connection ends
    done: bool = attrs.field(init=False, default=False)
    rest: bytes = attrs.field(init=False, default=b"")  # bytes not understood yet
    _left: int = attrs.field(init=False, default=0)  # of the chunk or the body; with its CRLF
    _trailers: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        if self.length is not None and self.length >= 0:
            self._left, self.done = self.length, self.length == 0

    def feed(self, data: bytes) -> bytes:
        """Return the content in *data*; raises `BadResponse`."""
        if self.length is None:
            return data
        if self.length >= 0:
            content = data[: self._left]
            self._left -= len(content)
            self.done = self._left == 0
            return content
        return self._feed_chunks(data)

    def _feed_chunks(self, data: bytes) -> bytes:
        data, at, parts = self.rest + data, 0, list[bytes]()
        while at < len(data) and not self.done:
            if self._left > 2:
                part = data[at : at + self._left - 2]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
            elif self._left:
                if len(data) - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise BadResponse("a chunk is longer than it said")
                self._left, at = 0, at + 2
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if len(data) - at > MAX_SIZE_LINE_BYTES:
                        raise BadResponse("an endless line where a chunk size was due")
                    break
                line, at = data[at:end], end + 2
                if self._trailers:
                    self.done = not line
                else:
                    self._begin_chunk(line)
        self.rest = data[at:]
        return b"".join(parts)

    def _begin_chunk(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip()
        # int() would also take a sign or an underscore.
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadResponse(f"no chunk size: {line[:40]!r}")
        size = int(digits, 16)
        self._left = size + 2 if size else 0
        self._trailers = size == 0


@attrs.frozen
class Response:
    """The head of an answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]


@attrs.define(eq=False)
class Connection:
    """One connection to a server, used for one request after the other.

    Closed by `aclose`; it opens itself again when the server has ended it.
    """

    base_url: str
    headers: tuple[tuple[str, str], ...] = ()  # sent with each request
    _stream: trio.abc.Stream | None = attrs.field(init=False, default=None)
    _body: BodyReader | None = attrs.field(init=False, default=None)
    _first: bytes = attrs.field(init=False, default=b"")  # body bytes that came with the head
    _keep_alive: bool = attrs.field(init=False, default=False)  # after the answer being read
    _idle: bool = attrs.field(init=False, default=False)  # the last answer was read to its end

    async def open(self) -> None:
        """Connect, if needed, so that no request pays for it; raises `OSError`, `ssl.SSLError`."""
        if self._stream is not None and (not self._idle or _readable(self._stream)):
            await self.aclose()  # left in the middle of an answer, or ended by the server meanwhile
        if self._stream is None:
            self._idle = True
            url = split(self.base_url)
            host = url.hostname or ""
            if url.scheme == "https":
                self._stream = await trio.open_ssl_over_tcp_stream(
                    host, url.port or 443, ssl_context=ssl.create_default_context()
                )
            else:
                self._stream = await trio.open_tcp_stream(host, url.port or 80)

    async def request(self, method: str, path: str, body: bytes = b"") -> Response:
        """Send a request and return the head of its response; then `receive` its body to the end.

        Raises:
            BadResponse: the answer is no HTTP, or the connection ended before it.
            OSError, trio.BrokenResourceError: the network failed.
        """
        await self.open()
        assert self._stream is not None
        url = split(self.base_url)
        h = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        headers = [("host", url.netloc.rpartition("@")[2]), *self.headers]
        if body:
            headers += [("content-type", "application/json"), ("content-length", str(len(body)))]
        target = url.path.rstrip("/") + path
        request = h11.Request(method=method, target=target, headers=headers)
        # One write for head and body: two would cost a delayed acknowledgement on some systems.
        data = (h.send(request) or b"") + (h.send(h11.Data(data=body)) or b"" if body else b"")
        data += h.send(h11.EndOfMessage()) or b""
        self._idle = False
        await self._stream.send_all(data)
        head = await self._read_head(h)
        fields = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
        self._body = BodyReader(body_length(method, head.status_code, fields))
        self._keep_alive = (
            head.http_version == b"1.1"
            and fields.get("connection", "").lower() != "close"
            and self._body.length is not None
        )
        return Response(head.status_code, fields)

    async def _read_head(self, h: h11.Connection) -> h11.Response:
        assert self._stream is not None
        buffered = b""
        while True:
            # h11 sees heads only: it would buffer and parse the body too.
            while (end := buffered.find(b"\r\n\r\n")) < 0:
                if len(buffered) > MAX_HEAD_BYTES:
                    raise BadResponse("an endless response head")
                data = await self._stream.receive_some(READ_BYTES)
                if not data:
                    raise BadResponse("the server closed the connection without an answer")
                buffered += data
            try:
                h.receive_data(buffered[: end + 4])
                event = h.next_event()
            except h11.RemoteProtocolError as error:
                raise BadResponse(str(error)) from error
            buffered = buffered[end + 4 :]
            if isinstance(event, h11.Response):
                self._first = buffered
                return event

    async def receive(self) -> bytes:
        """Return body content as it arrives, ``b""`` at its end; raises `BadResponse`."""
        body = self._body
        assert body is not None
        while not body.done:
            data: bytes = self._first
            self._first = b""
            if not data:
                assert self._stream is not None
                data = bytes(await self._stream.receive_some(READ_BYTES))
            if not data and body.length is not None:
                raise BadResponse("the server closed the connection in the middle of an answer")
            body.done = body.done or not data
            if content := body.feed(data):
                return content
        if self._keep_alive:
            self._idle = True
        else:
            await self.aclose()
        return b""

    async def read(self) -> bytes:
        """Return the whole rest of the body."""
        parts = list[bytes]()
        while part := await self.receive():
            parts.append(part)
        return b"".join(parts)

    async def aclose(self) -> None:
        """Close at once, without a checkpoint's wait for the peer: safe while cancelled."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await trio.aclose_forcefully(stream)


def _readable(stream: trio.abc.Stream) -> bool:
    """Nothing can come on an idle connection but its end."""
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    poll = select.poll()
    poll.register(stream.socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def split(base_url: str) -> SplitResult:
    """Parse a base URL; raises `ValueError` with a sentence for the user."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"no http or https URL: {base_url!r}")
    return url


def body_length(method: str, status: int, headers: dict[str, str]) -> int | None:
    """Return the framing of a response body, as `BodyReader` takes it (RFC 9112, 6.3)."""
    if method == "HEAD" or status in (204, 304):
        return 0
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return -1
    if "content-length" in headers:
        return int(headers["content-length"])
    return None
