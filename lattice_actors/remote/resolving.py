"""Looking up the addresses of other servers, so that a resolver that hangs holds up nobody else.

A look-up that was left goes on in its thread until the resolver gives up, which may take half a
minute. In Trio's ordinary threads a few dozen of these would hold up whatever else needs a thread:
files, other servers, the names of listeners.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

LOOK_UPS_PER_HOST = 2  # threads at once; more requests wait in their own connect timeout

Resolve = Callable[..., list[tuple[Any, ...]]]  # as `socket.getaddrinfo`


@attrs.define(eq=False)
class OwnThreads(trio.abc.HostnameResolver):
    """Trio's resolver with threads of its own for each name; settings say how few there are."""

    _resolve: Resolve = socket.getaddrinfo
    _limiters: dict[object, trio.CapacityLimiter] = attrs.field(
        init=False, factory=dict[object, trio.CapacityLimiter]
    )

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - Trio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        limiter = self._limiters.setdefault(host, trio.CapacityLimiter(LOOK_UPS_PER_HOST))
        ask = partial(self._resolve, host, port, family, type, proto, flags)
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=limiter)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:  # noqa: ANN401 - Trio's
        ask = partial(socket.getnameinfo, sockaddr, flags)
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)


def install() -> None:
    """Resolve in threads of their own until this run of Trio ends, unless told otherwise before."""
    before = trio.socket.set_custom_hostname_resolver(OwnThreads())
    if before is not None:
        trio.socket.set_custom_hostname_resolver(before)
