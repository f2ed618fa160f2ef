"""A resolver that hangs: whoever waits for it may leave, and it holds up nobody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio

from lattice_actors.errors import UpstreamFailed
from lattice_actors.remote.resolving import OwnThreads
from tests.remote.fault_server import fault_server, replying
from tests.remote.remotely import open_remote, plan


@attrs.define
class Resolver:
    """Knows names of the loopback; once it `hangs`, it says nothing about the slow one."""

    hangs: bool = False
    asked: int = 0  # of these so many hang
    _released: threading.Event = attrs.field(factory=threading.Event)

    def resolve(self, host: bytes, port: int, *more: int) -> list[tuple[Any, ...]]:
        if self.hangs and host == b"slow.test":
            self.asked += 1
            self._released.wait(30)
        return socket.getaddrinfo("127.0.0.1", port, *more)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.release()


def closing() -> Any:  # noqa: ANN401 - a behaviour
    """A list of models after which the connection is closed: the next one looks up the name."""
    return replying(200, {"data": [{"id": "m"}]}, Connection="close")


async def test_the_connect_timeout_ends_a_look_up(resolver: Resolver) -> None:
    trio.socket.set_custom_hostname_resolver(OwnThreads(resolver.resolve))
    async with fault_server(models=closing()) as server:
        url = server.url.replace("127.0.0.1", "slow.test")
        async with open_remote(plan("gpu", url, connect_timeout_s=0.1, retries=0)) as remote:
            await remote.chosen("gpu/m")
            resolver.hangs = True

            with pytest.raises(UpstreamFailed) as failure, trio.fail_after(10):
                await remote.ask("gpu/m")

            assert failure.value.code == "upstream_timeout"
            await remote.until_idle()


async def test_who_leaves_during_a_look_up_frees_the_place_at_once(resolver: Resolver) -> None:
    trio.socket.set_custom_hostname_resolver(OwnThreads(resolver.resolve))
    async with fault_server(models=closing()) as server:
        url = server.url.replace("127.0.0.1", "slow.test")
        async with open_remote(plan("gpu", url, connect_timeout_s=60.0)) as remote:
            await remote.chosen("gpu/m")
            resolver.hangs = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(remote.ask, "gpu/m")
                await remote.until(lambda: resolver.asked == 1)
                nursery.cancel_scope.cancel()

            await remote.until_idle()  # the resolver hangs still
            assert resolver.asked == 1


async def test_a_name_that_hangs_holds_up_no_other_name_and_no_thread(resolver: Resolver) -> None:
    resolver.hangs = True
    names = OwnThreads(resolver.resolve)
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(names.getaddrinfo, b"slow.test", 80)
        with trio.fail_after(10):
            while resolver.asked < 2:  # noqa: ASYNC110 - a thread sets no event of Trio's
                await trio.sleep(0.005)

            assert await names.getaddrinfo(b"quick.test", 80)
            assert await trio.to_thread.run_sync(lambda: "done") == "done"
        assert resolver.asked == 2
        nursery.cancel_scope.cancel()
