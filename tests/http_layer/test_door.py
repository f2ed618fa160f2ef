"""Which addresses are our own, and how many may come in."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_http.door import Door, Refused
from lattice_http.hosts import check_bind, is_loopback, own_url


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.255.0.9", True), ("::1", True), ("[::1]", True),
        ("localhost", True), ("ip6-localhost", True), ("LOCALHOST.", True),
        ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False), ("", False),
        ("10.0.0.1", False), ("mymac.local", False), ("localhost.evil", False), ("127.1", False),
    ],
)  # fmt: skip
def test_only_loopback_may_be_open_to_all(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    assert (check_bind(host, None, allow_public_no_auth=False) is None) is local
    assert (check_bind(host, "", allow_public_no_auth=False) is None) is local
    assert check_bind(host, "key", allow_public_no_auth=False) is None
    assert check_bind(host, None, allow_public_no_auth=True) is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5001"),
        ("192.168.1.20", "http://192.168.1.20:5001"),
        ("", "http://127.0.0.1:5001"),
        ("0.0.0.0", "http://127.0.0.1:5001"),
        ("::", "http://[::1]:5001"),
        ("fe80::1", "http://[fe80::1]:5001"),
    ],
)
def test_a_server_is_reached_where_it_listens(host: str, url: str) -> None:
    assert own_url(host, 5001) == url


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["127.0.0.1", "10.0.0.1", "2001:db8::1"])))
)
def test_the_door_never_lets_in_too_many(moves: list[tuple[bool, str]]) -> None:
    door, inside = Door(limit=4, per_address=2), list[str]()
    for enters, address in moves:
        if enters:
            refused = door.enter(address)
            if refused is None:
                inside.append(address)
            else:
                full = len(inside) == 4
                assert refused is (Refused.FULL if full else Refused.ADDRESS_FULL)
                assert full or (address != "127.0.0.1" and inside.count(address) == 2)
        else:
            with contextlib.suppress(ValueError):
                inside.remove(address)
                door.leave(address)

        assert door.inside == len(inside) <= 4


def test_one_household_of_ipv6_is_one_address() -> None:
    door = Door(limit=9, per_address=1)

    assert door.enter("2001:db8:1:2::1") is None
    assert door.enter("2001:db8:1:2::2") is Refused.ADDRESS_FULL
    assert door.enter("2001:db8:1:3::1") is None
    assert door.enter("::ffff:10.0.0.1") is None
    assert door.enter("10.0.0.1") is Refused.ADDRESS_FULL
