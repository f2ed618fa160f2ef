"""Which names mean this machine, and which of them a browser may have been tricked into."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
# How a container names the machine it runs on. None can be registered by an attacker.
CONTAINER_NAMES = frozenset(
    {
        "host.docker.internal",
        "gateway.docker.internal",
        "host.containers.internal",
        "host.lima.internal",
    }
)
# What means every address of this machine, and the first one of that kind.
_EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{0,5}))?")


@lru_cache(maxsize=64)  # asked for each request, of the same two or three
def is_loopback(host: str) -> bool:
    """Whether *host* is this machine only: 127.0.0.0/8, ::1, or a name of them.

    A name is never looked up, so one that is not known counts as public.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name in LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def host_of(authority: str) -> str | None:
    """The host of ``host[:port]``, lower case and without brackets; None when it is not one."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    host = match["host"].lower()
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
        return host[1:-1]
    return host.rstrip(".") or None


def is_own_name(host: str) -> bool:
    """Whether no other site's name can be *host*: what a rebound DNS name can never be."""
    return is_loopback(host) or host.endswith(".localhost") or host in CONTAINER_NAMES


def url_of(host: str, port: int) -> str:
    """The address of a server at *host*; one of IPv6 stands in brackets."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def own_url(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on *host*, which may mean every address."""
    return url_of(_EVERY_ADDRESS.get(host, host), port)


def check_bind(host: str, api_key: str | None, allow_public_no_auth: bool) -> str | None:
    """Why the server must not listen on *host*, or None when it may.

    The command line prints the reason and exits with 2.
    """
    if api_key or allow_public_no_auth or is_loopback(host):
        return None
    return (
        f"refusing to listen on {host or 'all addresses'!r} without an API key: anyone who can "
        "reach it could use it. Set LATTICE_API_KEY, or listen on 127.0.0.1, or allow it with "
        "--allow-public-no-auth."
    )
