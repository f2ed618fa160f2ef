"""Under the SDK: only what belongs there goes out, all of it is counted, and nothing is endless."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self

import attrs
import httpx2
import trio

from .connection import KEEPALIVE_S, TROUBLE, user_agent
from .ledger import Entry, Ledger
from .plan import UpstreamPlan

REQUEST_ID = "X-Lattice-Request-Id"  # ours, for the ledger: it is taken off again
MAX_REFUSAL_BYTES = 64 * 1024

# The SDK also tells the machine's system, its processor and versions, and what the environment
# has of headers. None of it leaves.
_SENT = frozenset(
    {
        "host",
        "accept",
        "connection",
        "content-length",
        "content-type",
        "anthropic-version",
    }
)


class CloudTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one server. Reading has clocks of its own."""

    def __init__(self, plan: UpstreamPlan, ledger: Ledger, secure: ssl.SSLContext) -> None:
        self._name = plan.name
        self._ledger = ledger
        self._own = [
            # Not the SDK's: it would rather take another one, if the environment had that.
            ("x-api-key", plan.api_key or ""),
            ("User-Agent", user_agent()),
            ("Accept-Encoding", "identity"),  # what is not compressed cannot be a bomb
        ]
        limits = httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=plan.concurrency or None,
            keepalive_expiry=KEEPALIVE_S,
        )
        self._inner = httpx2.AsyncHTTPTransport(verify=secure, limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send *request*; the answer's body is counted as it is read."""
        body = await request.aread()
        headers = [(name, text) for name, text in request.headers.items() if name.lower() in _SENT]
        sent = httpx2.Request(
            request.method,
            request.url,
            headers=[*headers, *self._own],
            content=body,
            extensions=request.extensions,
        )
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        request_id = request.headers.get(REQUEST_ID, "")
        entry = self._ledger.begin(
            request_id, self._name, f"{url.host}:{port}", "answer", len(body)
        )
        response = await self._inner.handle_async_request(sent)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        counted = _Counted(stream, entry)
        if response.status_code == 200:
            return httpx2.Response(
                200, headers=response.headers, stream=counted, extensions=response.extensions
            )
        # The SDK reads a refusal to its end, wherever that is.
        try:
            refusal = await _beginning(counted)
        finally:
            await counted.aclose()
        told = [
            (name, text)
            for name, text in response.headers.items()
            if name.lower() in ("content-type", "retry-after")
        ]
        return httpx2.Response(response.status_code, headers=told, content=refusal)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


async def let_go(chunks: AsyncIterator[bytes]) -> None:
    """End the reading of a body that is not wanted to its end.

    The SDK's client reads through generators inside of generators, of which closing reaches the
    outer ones only. A read that is cancelled goes through all of them, and closes the connection.
    """
    with trio.CancelScope() as scope, suppress(*TROUBLE):
        scope.cancel(reason="the rest of the body is not wanted")
        async for _ in chunks:
            pass


@attrs.define(eq=False)
class _Counted(httpx2.AsyncByteStream, AsyncIterator[bytes]):
    _stream: httpx2.AsyncByteStream
    _entry: Entry
    _parts: AsyncIterator[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = aiter(self._stream)

    def __aiter__(self) -> Self:
        return self  # no generator: nobody would close it

    async def __anext__(self) -> bytes:
        data = await anext(self._parts)
        self._entry.received(len(data))
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _beginning(stream: _Counted) -> bytes:
    body = bytearray()
    async for data in stream:
        body += data
        if len(body) >= MAX_REFUSAL_BYTES:
            await let_go(stream)
            break
    return bytes(body[:MAX_REFUSAL_BYTES])
