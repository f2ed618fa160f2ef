"""Looking at addresses where servers are well, or broken in every way."""

from __future__ import annotations

import pytest
import trio

from lattice_http.setup.looking import look
from lattice_http.setup.servers import Address, Family, Nothing, Server
from tests.remote.fault_server import (
    HEAD,
    Behaviour,
    chunk,
    fault_server,
    hanging,
    listing,
    replying,
    resetting,
    sending,
)

SOON_S = 0.3
LARGE = b'{"data": [' + b" " * 6_000_000


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (sending(b"SSH-2.0-OpenSSH\r\n"), "speaks no HTTP"),
        (resetting(), "speaks no HTTP"),
        (hanging(), "did not answer within 0.3 s"),
        (hanging(HEAD, chunk(b'{"data": [')), "did not answer within 0.3 s"),
        (replying(200, b"<html>hello</html>"), "not with a list of models"),
        (replying(200, LARGE), "not with a list of models"),
        (replying(302, b"", Location="http://127.0.0.1:9/"), "HTTP 302"),
        (replying(401, {}), "wants a key"),
        (replying(500, {}), "HTTP 500"),
    ],
)
async def test_a_broken_server_is_a_reason(behaviour: Behaviour, reason: str) -> None:
    async with fault_server(models=behaviour) as server:
        with trio.fail_after(10):
            (found,) = await look([Address(server.url)], {}, SOON_S)

    assert isinstance(found, Nothing)
    assert reason in found.reason


async def test_each_address_has_its_answer_and_none_waits_for_another() -> None:
    async with fault_server(models=hanging()) as slow, fault_server(models=listing("m")) as quick:
        nobody = Address("http://127.0.0.1:1")
        addresses = [Address(slow.url), nobody, Address(quick.url), Address(slow.url)]
        with trio.fail_after(10):
            first, silent, found, last = await look(addresses, {}, SOON_S)

    assert isinstance(found, Server)
    assert found.family is Family.OTHER
    assert isinstance(silent, Nothing)
    assert silent.reason == "nobody listens there"
    assert [isinstance(one, Nothing) for one in (first, last)] == [True, True]


async def test_what_hangs_besides_the_list_is_done_without() -> None:
    async with fault_server(models=listing("m"), loaded=hanging()) as server:
        with trio.fail_after(10):
            (found,) = await look([Address(server.url)], {}, SOON_S)

    assert isinstance(found, Server)
    assert [model.name for model in found.models] == ["m"]


async def test_a_key_goes_only_where_it_was_named_for() -> None:
    async with fault_server(models=listing("m")) as mine, fault_server() as other:
        with_key = Address(mine.url, key_env="MY_KEY")
        await look([with_key, Address(other.url)], {"MY_KEY": "sk-1"}, SOON_S)

        assert {seen.headers.get("authorization") for seen in mine.seen} == {"Bearer sk-1"}
        assert {seen.headers.get("authorization") for seen in other.seen} == {None}
        assert all(seen.method == "GET" for seen in (*mine.seen, *other.seen))

        mine.seen.clear()
        (found,) = await look([with_key], {}, SOON_S)

        assert isinstance(found, Nothing)
        assert "MY_KEY" in found.reason
        assert mine.seen == []


async def test_who_wants_a_key_is_asked_once() -> None:
    async with fault_server(models=replying(401, {})) as server:
        await look([Address(server.url)], {}, SOON_S)

        assert [seen.path for seen in server.seen] == ["/v1/models"]
