"""What is wrong with a request before anyone looks at what it asks for. Pure.

Hypercorn limits only headers that arrive in pieces, accepts two lengths at once, and hands an
absolute-form target on unparsed, which Quart answers with a 500.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import attrs

from .asgi import Headers, Scope
from .hosts import host_of

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^?#]*)", re.IGNORECASE)


class Refusal(Exception):
    """The request ends here: *status*, and an OpenAI error object of these parts."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        kind: str = "invalid_request_error",
        headers: Headers | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.kind = kind
        self.headers: Headers = headers or []
        self.close = close  # what follows on the connection cannot be trusted, or read


@attrs.frozen
class Sizes:
    """Bounds on one request."""

    headers: int = 100
    header_bytes: int = 32 * 1024  # names and values together
    target_bytes: int = 8 * 1024
    body_bytes: int = 10 * 1024 * 1024


@attrs.define
class Asked:
    """The few headers that decide whether the request goes on. The first of a name counts."""

    host: bytes = b""
    origin: bytes | None = None
    content_type: bytes = b""
    content_length: bytes | None = None
    chunked: bool = False
    request_id: bytes | None = None
    preflight_method: bytes | None = None
    preflight_headers: bytes = b""
    private_network: bool = False
    keys: list[bytes] = attrs.field(factory=list[bytes])  # of each way to give one

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length not in (None, b"0")


def read_headers(scope: Scope, sizes: Sizes) -> Asked:
    """Pick out what matters, once.

    Raises:
        Refusal: 431 for too many or too large headers, 414 for the target, 400 for a length
            that is given twice.
    """
    headers: Headers = scope["headers"]
    if len(headers) > sizes.headers:
        raise Refusal(
            431,
            f"the request has {len(headers)} headers; at most {sizes.headers} are taken",
            "too_many_headers",
            close=True,
        )
    if len(scope["raw_path"]) + len(scope["query_string"]) >= sizes.target_bytes:
        raise Refusal(
            414,
            f"the address is longer than {sizes.target_bytes} bytes",
            "target_too_long",
            close=True,
        )
    asked, size = Asked(), 0
    for name, value in headers:
        size += len(name) + len(value)
        match name:
            case b"host":
                asked.host = asked.host or value
            case b"authorization":
                scheme, _, key = value.strip().partition(b" ")
                if scheme.lower() == b"bearer":
                    asked.keys.append(key.strip())
            case b"x-api-key":
                asked.keys.append(value.strip())
            case b"origin":
                asked.origin = value
            case b"content-type":
                asked.content_type = asked.content_type or value
            case b"content-length":
                asked.content_length = value
            case b"transfer-encoding":
                asked.chunked = True
            case b"x-request-id":
                asked.request_id = value
            case b"access-control-request-method":
                asked.preflight_method = value
            case b"access-control-request-headers":
                asked.preflight_headers = value
            case b"access-control-request-private-network":
                asked.private_network = value == b"true"
    if size > sizes.header_bytes:
        raise Refusal(
            431,
            f"the headers are larger than {sizes.header_bytes} bytes together",
            "headers_too_large",
            close=True,
        )
    if asked.chunked and asked.content_length is not None:
        # Two readers may each believe another one: request smuggling (RFC 9112, 6.3).
        raise Refusal(
            400,
            "Content-Length and Transfer-Encoding exclude each other",
            "ambiguous_length",
            close=True,
        )
    return asked


def settle_target(scope: Scope, asked: Asked) -> None:
    """Make *scope* say an origin-form path. An absolute target's host wins (RFC 9112, 3.2.2).

    Raises:
        Refusal: 400 when the target is none of ours.
    """
    raw: bytes = scope["raw_path"]
    if raw.startswith(b"/"):
        return
    if raw == b"*" and scope.get("method") == "OPTIONS":
        scope["path"], scope["raw_path"] = "/", b"/"
        return
    match = _ABSOLUTE.fullmatch(raw)
    if match is None or host_of(match[1].decode("latin1")) is None:
        raise Refusal(400, "the request's target is not a path", "bad_target", close=True)
    asked.host = match[1]
    scope["raw_path"] = match[2] or b"/"
    scope["path"] = unquote(scope["raw_path"].decode("latin1"))
