"""Who may connect: a cap in all, and one for each address. Pure."""

from __future__ import annotations

import enum
import ipaddress
import json
from collections import Counter

import attrs

from .hosts import is_loopback


class Refused(enum.Enum):
    """Why a connection is not taken; the value is the `code` of the answer."""

    FULL = "too_many_connections"
    ADDRESS_FULL = "too_many_connections_from_your_address"

    @property
    def answer(self) -> bytes:
        """A whole HTTP/1.1 response: nothing the client sends is read before it goes out."""
        message = {
            Refused.FULL: "the server has as many connections as it takes; try again",
            Refused.ADDRESS_FULL: "your address has as many connections as it may; close some",
        }[self]
        error = {"message": message, "type": "server_error", "param": None, "code": self.value}
        body = json.dumps({"error": error}).encode()
        return (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )


@attrs.define(eq=False)
class Door:
    """Counts who is inside. Each `enter` that is not refused is followed by one `leave`."""

    limit: int
    per_address: int
    inside: int = attrs.field(init=False, default=0)
    _by_address: Counter[str] = attrs.field(init=False, factory=Counter[str])

    def enter(self, address: str) -> Refused | None:
        """Count a connection from *address* (an IP), or say why not. Loopback has no own bound."""
        key = _key(address)
        if self.inside >= self.limit:
            return Refused.FULL
        if not is_loopback(key) and self._by_address[key] >= self.per_address:
            return Refused.ADDRESS_FULL
        self.inside += 1
        self._by_address[key] += 1
        return None

    def leave(self, address: str) -> None:
        """Count it off again: once for each `enter` that let it in."""
        key = _key(address)
        self.inside -= 1
        self._by_address[key] -= 1
        if not self._by_address[key]:
            del self._by_address[key]


def _key(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which is what one household is given."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.is_loopback:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
