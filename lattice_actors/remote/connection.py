"""The HTTP client of one upstream: what is sent, what is never sent, and its failures by name."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import attrs
import httpx2

from lattice_actors.release import VERSION

from .faults import Blame, Fault, server_fault
from .http1 import Headers, Stale
from .ledger import Entry, Ledger, Purpose
from .plan import UpstreamPlan
from .pool import Pool

KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn closes, or requests would meet closed ones
MOST_STALE = 3  # kept connections that one request may meet closed

# Failures of the connection, not of the answer: the request may never have arrived.
CONNECT_ERRORS = (httpx2.ConnectError, httpx2.ConnectTimeout)

TROUBLE = (httpx2.HTTPError, OSError)  # what may go wrong on the way


@attrs.frozen
class Reply:
    """The head of an answer, and its body to be read. Only inside of `Connection.send`."""

    status: int
    headers: httpx2.Headers
    chunks: AsyncIterator[bytes]


@attrs.define(eq=False)
class Connection:
    """Made once for each incarnation of the actor; `async with` closes what is open.

    No cookies, no redirects (they would go where nobody said), no `.netrc` and no proxies: none of
    them may have a say here, and a client that looks for them is slower (docs/design/0008).
    """

    _plan: UpstreamPlan
    _ledger: Ledger
    _ssl: ssl.SSLContext
    _pool: Pool = attrs.field(init=False)
    _always: list[tuple[bytes, bytes]] = attrs.field(init=False)
    _urls: dict[str, httpx2.URL] = attrs.field(init=False, factory=dict[str, httpx2.URL])

    def __attrs_post_init__(self) -> None:
        plan = self._plan
        # Admission bounds how many there are at once; a second bound could only deadlock.
        self._pool = Pool(self._ssl, plan.connect_timeout_s, plan.concurrency, KEEPALIVE_S)
        # Only what stands here and in `send` is ever sent: no header of a caller.
        self._always = [
            (b"User-Agent", user_agent().encode()),
            (b"Accept-Encoding", b"identity"),  # what is not compressed cannot be a bomb
            (b"Connection", b"keep-alive"),
        ]
        if plan.api_key:
            self._always.append((b"Authorization", f"Bearer {plan.api_key}".encode()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pool.aclose()

    @asynccontextmanager
    async def send(
        self,
        path: str,
        body: bytes | None,
        request_id: str,
        purpose: Purpose,
        accept: str = "text/event-stream",
    ) -> AsyncIterator[Reply]:
        """Send a request (GET without a *body*); leaving closes it, read to its end or not.

        Raises:
            TROUBLE: see `fault_of`.
            httpx2.InvalidURL: the plan's address is none.
        """
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx2.URL(self._plan.url + path)
        port = url.port or (443 if url.scheme == "https" else 80)
        headers = self._headers(url, body, request_id, accept)
        method = b"GET" if body is None else b"POST"
        for stale in range(MOST_STALE + 1):
            entry = self._ledger.begin(
                request_id, self._plan.name, f"{url.host}:{port}", purpose, len(body or b"")
            )
            try:
                connection, head = await self._pool.ask(method, url, headers, body or b"")
                break
            except Stale:
                if stale == MOST_STALE:
                    raise
        try:
            told = httpx2.Headers(head.headers.raw_items())
            yield Reply(head.status_code, told, _Counted(connection, entry))
        finally:
            await self._pool.over(connection)

    def _headers(
        self, url: httpx2.URL, body: bytes | None, request_id: str, accept: str
    ) -> Headers:
        headers = [(b"Host", url.netloc), *self._always]
        if request_id:
            headers.append((b"X-Request-Id", request_id.encode()))
        if body is None:
            headers.append((b"Accept", b"*/*"))
        else:
            headers += [
                (b"Accept", accept.encode()),
                (b"Content-Type", b"application/json"),
                (b"Content-Length", b"%d" % len(body)),
            ]
        return headers


@attrs.frozen(eq=False)
class _Counted(AsyncIterator[bytes]):
    """Chunks, noted in the ledger as they come."""

    _raw: AsyncIterator[bytes]
    _entry: Entry

    async def __anext__(self) -> bytes:
        data = await self._raw.__anext__()
        self._entry.received(len(data))
        return data


def fault_of(upstream: str, error: BaseException) -> Fault:
    """Return what an exception of the client means."""
    match error:
        case httpx2.ConnectTimeout():
            return server_fault(upstream, "did not accept the connection", "upstream_timeout")
        case httpx2.ConnectError():
            said = _said_of_tls(error) or "cannot be reached"
            return server_fault(upstream, said, "upstream_unreachable")
        case httpx2.TimeoutException():
            return server_fault(upstream, "took too long", "upstream_timeout")
        case httpx2.RemoteProtocolError() | httpx2.NetworkError() | OSError():
            return server_fault(upstream, "closed the connection", "upstream_cut_off")
        case _:
            kind = type(error).__name__
            return Fault(Blame.SERVER, f"upstream {upstream} failed ({kind})", "upstream_failed")


def _said_of_tls(error: BaseException | None) -> str:
    """Return what is wrong with their TLS, or nothing where something else is."""
    seen: set[int] = set()  # a chain may be a ring: a client raises what it caught, from itself
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"has a certificate that is not trusted ({error.verify_message})"
        if isinstance(error, ssl.SSLError):
            # By OpenSSL's name of it: WRONG_VERSION_NUMBER is what plain HTTP looks like.
            reason = (error.reason or type(error).__name__).replace("_", " ").lower()
            return f"failed in the TLS handshake ({reason})"
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return ""


def user_agent() -> str:
    """Return what other servers are told of us."""
    return f"lattice-trio/{VERSION}"
