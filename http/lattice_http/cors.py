"""Which web pages may call us. Off unless origins are named; decided before any key is asked for,
because a browser's preflight never carries one."""

from __future__ import annotations

import re

import attrs

from .asgi import Headers

MAX_AGE_S = 600  # a preflight's answer may be reused this long; browsers cap it near there
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,1024}")


@attrs.frozen
class Cors:
    """The allowed origins, as a browser writes them: ``http://localhost:3000``; or ``*``.

    Capitals and a slash at the end, which people write and browsers do not, are forgiven.
    """

    origins: tuple[str, ...] = ()
    _allowed: frozenset[bytes] = attrs.field(init=False)

    @_allowed.default
    def _lowered(self) -> frozenset[bytes]:
        return frozenset(origin.lower().rstrip("/").encode() for origin in self.origins)

    @property
    def enabled(self) -> bool:
        """Whether any page of another origin may call."""
        return bool(self.origins)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of *origin* may."""
        return b"*" in self._allowed or origin.lower() in self._allowed

    def answer_headers(self, origin: bytes | None) -> Headers:
        """What every answer to a request with this origin carries."""
        if not self.enabled:
            return []
        if b"*" in self._allowed:
            vary: Headers = []
            allow = b"*"
        else:
            # The answer differs by origin, so a cache must keep them apart, also without one.
            vary = [(b"vary", b"Origin")]
            allow = origin or b""
        if origin is None or not self.allows(origin):
            return vary
        return [
            *vary,
            (b"access-control-allow-origin", allow),
            (b"access-control-expose-headers", b"*"),
            # For what a page embeds without asking; otherwise the hardening says same-origin.
            (b"cross-origin-resource-policy", b"cross-origin"),
        ]

    def preflight_headers(self, wanted: bytes, private_network: bool) -> Headers:
        """What a preflight of an allowed origin is told besides `answer_headers`."""
        # "*" would leave out Authorization, so what is asked for is what is allowed.
        names = wanted if wanted and _NAMES.fullmatch(wanted) else b"authorization, content-type"
        headers: Headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS"),
            (b"access-control-allow-headers", names),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
        ]
        if private_network:
            headers.append((b"access-control-allow-private-network", b"true"))
        return headers
