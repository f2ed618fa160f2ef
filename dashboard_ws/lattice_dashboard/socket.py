"""`/dashboard/ws`: the state and its changes, for pages and terminals (docs/dashboard.md).

A client has shown the key when it comes (a header, or the subprotocol `lattice.key.<base64url>`),
or shows it in its first message. It is sent what the feed has for it, and never waits in a queue
of ours: what it was too slow for is skipped (`Subscription`).
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress

import attrs
import msgspec
import trio
from quart import Blueprint, Websocket, websocket

from lattice_actors.errors import LatticeError
from lattice_actors.metrics.feed import Subscription

from .desk import Desk

PROTOCOL = "lattice.v1"
KEY_PREFIX = "lattice.key."
MOST_STRANGERS = 16  # sockets that have not shown the key yet

GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
WRONG_KEY = 4401  # as HTTP's 401; codes from 4000 on are the application's (RFC 6455, 7.4.2)


class _Hello(msgspec.Struct):
    key: str
    type: str = "key"


@attrs.define(eq=False)
class Sockets:
    """Those who follow. Shared by all sockets of one server."""

    desk: Desk
    inside: int = attrs.field(init=False, default=0)
    strangers: int = attrs.field(init=False, default=0)

    async def serve(self, client: Websocket) -> None:
        """Serve one socket until either side ends it."""
        asked = client.requested_subprotocols
        await client.accept(subprotocol=PROTOCOL if PROTOCOL in asked else None)
        if not await self._admit(client, asked):
            return
        if self.inside >= self.desk.settings.dashboard_clients:
            await client.close(TRY_AGAIN_LATER, "as many follow as may")
            return
        self.inside += 1
        try:
            await self._follow(client)
        finally:
            self.inside -= 1

    async def _admit(self, client: Websocket, asked: list[str]) -> bool:
        if client.scope["state"].get("authenticated"):
            return True
        shown = [key for key in map(_key_in, asked) if key is not None]
        if not shown:
            if self.strangers >= MOST_STRANGERS:
                await client.close(TRY_AGAIN_LATER, "too many without a key")
                return False
            self.strangers += 1
            try:
                shown = await self._first_message(client)
            finally:
                self.strangers -= 1
        if any(self.desk.is_key(key) for key in shown):
            return True
        await client.close(WRONG_KEY, "wrong key" if shown else "no key")
        return False

    async def _first_message(self, client: Websocket) -> list[bytes]:
        with trio.move_on_after(self.desk.hello_s):
            first = await client.receive()
            with suppress(msgspec.DecodeError, UnicodeEncodeError):
                return [msgspec.json.decode(first, type=_Hello).key.encode()]
        return []

    async def _follow(self, client: Websocket) -> None:
        try:
            async with (
                self.desk.lattice.metrics.follow() as subscription,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_hear, client)
                nursery.start_soon(self._tell, client, subscription)
                await self.desk.leaving.wait()
                nursery.cancel_scope.cancel(reason="the server is going away")
        except* LatticeError:
            pass  # the actors have stopped
        if self.desk.leaving.is_set():
            await client.close(GOING_AWAY, "the server is going away")

    async def _tell(self, client: Websocket, subscription: Subscription) -> None:
        # A client that takes nothing is cut off by the connection, after its write timeout.
        while True:
            for message in await subscription.receive():
                await client.send(message)


async def _hear(client: Websocket) -> None:
    """Take what a client says and drop it: unread messages would hide that it leaves."""
    while True:
        await client.receive()


def _key_in(protocol: str) -> bytes | None:
    """Return the key that a subprotocol carries; a wrong encoding is a wrong key."""
    if not protocol.startswith(KEY_PREFIX):
        return None
    text = protocol.removeprefix(KEY_PREFIX)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


def add_socket(routes: Blueprint, desk: Desk) -> Sockets:
    """Add the socket to *routes*."""
    sockets = Sockets(desk)

    @routes.websocket("/dashboard/ws")
    async def follow() -> None:
        # The socket itself: the proxy looks it up again at each use.
        await sockets.serve(websocket._get_current_object())  # type: ignore[attr-defined]

    return sockets
