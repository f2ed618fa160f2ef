"""The HTTP client of one upstream: what is sent, what is never sent, and its failures by name."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import attrs
import httpx2
import trio

from lattice_actors.release import VERSION

from .faults import Blame, Fault, server_fault
from .ledger import Entry, Ledger, Purpose
from .plan import UpstreamPlan

KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn closes, or requests would meet closed ones
WRITE_S = 30.0  # for a body to be taken

# Failures of the connection, not of the answer: the request may never have arrived.
CONNECT_ERRORS = (httpx2.ConnectError, httpx2.ConnectTimeout)


@attrs.frozen
class Reply:
    """The head of an answer, and its body to be read. Only inside of `Connection.send`."""

    status: int
    headers: httpx2.Headers
    chunks: AsyncIterator[bytes]


@attrs.define(eq=False)
class Connection:
    """Made once for each incarnation of the actor; `async with` closes what is open."""

    _plan: UpstreamPlan
    _ledger: Ledger
    _ssl: ssl.SSLContext
    _client: httpx2.AsyncClient = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        plan = self._plan
        # Only what stands here is ever sent: no header of a caller, no proxy or netrc of the
        # environment, no cookie. A redirect is not followed, it would go where nobody said.
        headers = {
            "User-Agent": user_agent(),
            "Accept-Encoding": "identity",  # what is not compressed cannot be a bomb
        }
        if plan.api_key:
            headers["Authorization"] = f"Bearer {plan.api_key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            # Admission bounds how many there are at once; a second bound could only deadlock.
            limits=httpx2.Limits(
                max_connections=None,
                max_keepalive_connections=plan.concurrency or None,
                keepalive_expiry=KEEPALIVE_S,
            ),
            # Reading has clocks of its own, which see whether the bytes say anything.
            timeout=httpx2.Timeout(None, connect=plan.connect_timeout_s, write=WRITE_S),
            trust_env=False,
            verify=self._ssl,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

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
            httpx2.HTTPError, OSError: see `fault_of`.
        """
        url = httpx2.URL(self._plan.url + path)
        headers = {"X-Request-Id": request_id} if request_id else {}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Accept": accept}
        port = url.port or (443 if url.scheme == "https" else 80)
        entry = self._ledger.begin(
            request_id, self._plan.name, f"{url.host}:{port}", purpose, len(body or b"")
        )
        self._client.cookies.clear()
        method = "GET" if body is None else "POST"
        async with self._client.stream(method, url, content=body, headers=headers) as response:
            chunks = _Counted(response.aiter_raw(), entry)
            try:
                yield Reply(response.status_code, response.headers, chunks)
            finally:
                await let_go(chunks)


async def let_go(chunks: AsyncIterator[bytes]) -> None:
    """End the reading of a body that is not wanted to its end.

    The client reads through generators inside of generators, of which closing reaches the outer
    ones only. A read that is cancelled goes through all of them, and closes the connection.
    """
    with trio.CancelScope() as scope, suppress(httpx2.HTTPError, OSError):
        scope.cancel(reason="the rest of the body is not wanted")
        async for _ in chunks:
            pass


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
            return server_fault(upstream, "cannot be reached", "upstream_unreachable")
        case httpx2.TimeoutException():
            return server_fault(upstream, "took too long", "upstream_timeout")
        case httpx2.RemoteProtocolError() | httpx2.ReadError() | httpx2.WriteError() | OSError():
            return server_fault(upstream, "closed the connection", "upstream_cut_off")
        case _:
            kind = type(error).__name__
            return Fault(Blame.SERVER, f"upstream {upstream} failed ({kind})", "upstream_failed")


def user_agent() -> str:
    """Return what other servers are told of us."""
    return f"lattice-trio/{VERSION}"
