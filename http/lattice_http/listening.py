"""Sockets to listen on, and enough file descriptors for who comes."""

from __future__ import annotations

import errno
import resource
import socket as stdlib_socket
from contextlib import suppress

import trio

from lattice_actors.errors import LatticeError

RESERVED_FDS = 64  # for engines, upstreams, files and log, and for answering who is refused


class CannotBind(LatticeError):
    """The address to listen on cannot be had; the message is one line for the terminal."""

    code = "cannot_bind"


class AddressInUse(CannotBind):
    """Another program listens there."""

    code = "address_in_use"


def raise_fd_limit() -> int:
    """Raise the soft limit on open files as far as the hard one allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS names a hard limit that it then refuses
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def connection_cap(wanted: int, fd_limit: int) -> int:
    """How many connections fit: *wanted*, or what the files leave besides the reserve."""
    return max(1, min(wanted, fd_limit - RESERVED_FDS))


async def bind(host: str, port: int) -> list[trio.socket.SocketType]:
    """Bind *host* (each of its addresses) and *port* (0: any free one, the same for all).

    Raises:
        AddressInUse: another program listens there.
        CannotBind: the address is not ours, or not allowed, or the name is not known.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"
    try:
        found = await trio.socket.getaddrinfo(
            host or None,
            port,
            type=stdlib_socket.SOCK_STREAM,
            flags=stdlib_socket.AI_PASSIVE,
        )
    except OSError as error:
        raise CannotBind(f"cannot listen on {where}: {error.strerror or error}") from error
    sockets: list[trio.socket.SocketType] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sock = trio.socket.socket(family, kind, protocol)
        except OSError as error:  # IPv6 is switched off
            failure = error
            continue
        sockets.append(sock)
        try:
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
            if family == stdlib_socket.AF_INET6:
                # "::" means every address to those who write it; a name is bound one by one.
                sock.setsockopt(
                    stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, int(host != "::")
                )
            await sock.bind((address[0], port, *address[2:]))
        except OSError as error:
            sock.close()
            sockets.pop()
            if error.errno == errno.EADDRINUSE:
                for other in sockets:
                    other.close()
                raise AddressInUse(
                    f"{where} is already in use by another program; stop it or choose another port"
                ) from error
            failure = error
            continue
        port = sock.getsockname()[1]
    if not sockets:
        assert failure is not None
        raise CannotBind(f"cannot listen on {where}: {failure.strerror or failure}") from failure
    return sockets
