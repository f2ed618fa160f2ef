"""The wrapper in front of the app: who may ask, from where, how much, and what answers carry.

In this order: sizes and target (414, 431, 400), the name we were called by (403), a preflight,
the page that sent it (403), the key (401), the body (415, 413). Whatever it refuses it answers
itself, as an OpenAI error object. What it lets through it only watches: the body's length on the
way in, the headers on the way out; disconnects and streams pass untouched.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid

import attrs
import structlog

from lattice_actors.errors import LatticeError

from .answer import Answer
from .asgi import ASGIApp, Headers, Message, Receive, Scope, Send
from .cors import Cors
from .errors import telling
from .hosts import check_bind, host_of, is_loopback, is_own_name
from .request_line import REQUEST_ID, Asked, Refusal, Sizes, read_headers, settle_target

__all__ = ["Guarded", "SecurityPolicy", "check_bind"]

ANONYMOUS = "anonymous"
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ALLOW = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
KNOWN_METHODS = SAFE_METHODS | BODY_METHODS | {"DELETE"}

log = structlog.get_logger(__name__)


def _prefixes(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(prefix.rstrip("/") for prefix in value)


@attrs.frozen
class SecurityPolicy:
    """Who may do what. Without a key everything is open to those who can reach the address."""

    bound_host: str = "127.0.0.1"
    api_key: str | None = attrs.field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()  # names besides loopback's that we may be called by
    cors_origins: tuple[str, ...] = ()  # "*": every page
    # GET and HEAD of these need no key. The app tells less where `authenticated` is false.
    open_paths: frozenset[str] = frozenset(
        {"/livez", "/healthz", "/readyz", "/", "/favicon.ico", "/openapi.json", "/llms.txt"}
    )
    open_prefixes: tuple[str, ...] = attrs.field(default=("/dashboard",), converter=_prefixes)
    # These stay closed all the same.
    closed_prefixes: tuple[str, ...] = attrs.field(
        default=("/dashboard/api", "/dashboard/ws"), converter=_prefixes
    )
    # WebSockets that look for the key themselves: no page can set a header of its socket.
    open_sockets: frozenset[str] = frozenset()
    sizes: Sizes = attrs.field(factory=Sizes)

    _digest: bytes | None = attrs.field(init=False, repr=False)  # None: there is no key

    @_digest.default
    def _digest_of_ours(self) -> bytes | None:
        return hashlib.sha256(self.api_key.encode()).digest() if self.api_key else None

    @property
    def has_key(self) -> bool:
        """Whether callers have to show a key."""
        return self._digest is not None

    def is_key(self, key: bytes) -> bool:
        """Whether *key* opens everything; without a key of our own, any does."""
        # Digests are of equal length, so the time it takes tells nothing of ours.
        digest = hashlib.sha256(key).digest()
        return self._digest is None or hmac.compare_digest(digest, self._digest)

    @open_prefixes.validator
    def _not_everything(self, _: object, value: tuple[str, ...]) -> None:
        if not all(prefix.startswith("/") and len(prefix) > 1 for prefix in value):
            raise ValueError("an open prefix is a path below /")


class Guarded:
    """Wrap *app*; `scope["state"]` gains `request_id`, `principal` and `authenticated`."""

    def __init__(self, app: ASGIApp, policy: SecurityPolicy) -> None:
        self._app = app
        self._policy = policy
        self._cors = Cors(policy.cors_origins)
        key = (policy.api_key or "").encode()
        self._principal = f"key:{hashlib.sha256(key).hexdigest()[:12]}" if key else ANONYMOUS
        self._names = frozenset(
            host_of(name) or name.lower() for name in (policy.bound_host, *policy.allowed_hosts)
        )
        # With a key a tricked browser gets nowhere: it does not have it.
        local = is_loopback(policy.bound_host)
        self._check_host = bool(policy.allowed_hosts) or (local and not key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex.encode()
        answer = Answer(scope, send, request_id)
        try:
            asked = read_headers(scope, self._policy.sizes)
            if asked.request_id is not None and REQUEST_ID.fullmatch(asked.request_id):
                request_id = asked.request_id
            scope.setdefault("state", {})["request_id"] = request_id.decode("ascii")
            answer.expect(request_id, self._cors.answer_headers(asked.origin))
            settle_target(scope, asked)
            if self._refuse_or_preflight(scope, asked, answer):
                await answer.preflight(self._preflight(asked))
                return
            self._identify(scope, asked)
            if scope["type"] == "http":
                receive = self._watch_body(scope, asked, receive, answer)
            await self._app(scope, receive, answer.send)
        except* Refusal as refusals:
            refusal = telling(refusals)
            assert isinstance(refusal, Refusal)
            await answer.refuse(refusal)
        except* LatticeError as errors:
            # Routes answer these, but where the client left in the very turn in which it failed.
            code = getattr(telling(errors), "code", None)
            log.info("failed as its client left", path=scope["path"], code=code)
        except* Exception:
            # The app answers its own errors; this one it did not see coming.
            log.exception("request failed outside the app", path=scope["path"])
            await answer.refuse(
                Refusal(500, "internal error", "internal_error", kind="server_error", close=True)
            )

    def _refuse_or_preflight(self, scope: Scope, asked: Asked, answer: Answer) -> bool:
        method = scope.get("method", "GET")
        if self._check_host:
            self._admit_host(asked.host)
        if method == "OPTIONS":
            return True
        if method not in KNOWN_METHODS:
            raise Refusal(
                405,
                f"{method[:20]} is not served",
                "method_not_allowed",
                headers=[ALLOW],
                close=True,
            )
        # A socket may be let in without the key, and asks for it later.
        asked_later = scope["type"] == "websocket" and scope["path"] in self._policy.open_sockets
        if asked.origin is not None and (not self._policy.has_key or asked_later):
            self._admit_origin(scope, method, asked)
        return False

    def _admit_host(self, authority: bytes) -> None:
        host = host_of(authority.decode("latin1"))
        # No browser leaves it out, so without a Host no browser was tricked.
        if authority and (host is None or not (is_own_name(host) or host in self._names)):
            raise Refusal(
                403,
                "the Host header names another machine than this one, as in a DNS rebinding "
                "attack; if it is yours, give the server a key (LATTICE_API_KEY)",
                "host_not_allowed",
                kind="permission_error",
            )

    def _admit_origin(self, scope: Scope, method: str, asked: Asked) -> None:
        """Without a key, a foreign page's form could load or evict models. Reading is CORS's."""
        if scope["type"] == "http" and method in SAFE_METHODS:
            return
        assert asked.origin is not None
        page = asked.origin.partition(b"://")[2]
        if page.lower() != asked.host.lower() and not self._cors.allows(asked.origin):
            raise Refusal(
                403,
                "a page of another origin may not do this; allow it with --cors-origins",
                "origin_not_allowed",
                kind="permission_error",
            )

    def _preflight(self, asked: Asked) -> Headers:
        if self._cors.enabled and asked.origin is not None and asked.preflight_method is not None:
            if not self._cors.allows(asked.origin):
                raise Refusal(
                    403,
                    "this origin is not among the CORS origins",
                    "origin_not_allowed",
                    kind="permission_error",
                )
            return self._cors.preflight_headers(asked.preflight_headers, asked.private_network)
        return [ALLOW]

    def _identify(self, scope: Scope, asked: Asked) -> None:
        known = not self._policy.has_key or any(map(self._policy.is_key, asked.keys))
        shown_wrong = scope["type"] == "websocket" and any(asked.keys)
        if not known and (shown_wrong or not self._is_open(scope)):
            raise Refusal(
                401,
                "send the API key as 'Authorization: Bearer ...' or 'X-API-Key: ...'",
                "invalid_api_key",
                kind="authentication_error",
                headers=[(b"www-authenticate", b"Bearer")],
                close=asked.has_body,
            )
        state = scope["state"]
        state["authenticated"] = known
        state["principal"] = self._principal if known else ANONYMOUS

    def _is_open(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if scope["type"] == "websocket":
            return path in self._policy.open_sockets
        if scope.get("method") not in ("GET", "HEAD"):
            return False
        if path in self._policy.open_paths:
            return True
        if ".." in path or "//" in path or "\\" in path:
            return False
        policy = self._policy
        return _below(path, policy.open_prefixes) and not _below(path, policy.closed_prefixes)

    def _watch_body(self, scope: Scope, asked: Asked, receive: Receive, answer: Answer) -> Receive:
        http2 = scope["http_version"] == "2"  # where a body needs no announcement
        if not asked.has_body and not http2:
            return receive
        if scope["method"] in BODY_METHODS and (asked.has_body or asked.content_type):
            kind = asked.content_type.partition(b";")[0].strip().lower()
            # Also keeps out a foreign page's form, which can only send text.
            if kind != b"application/json" and not kind.endswith(b"+json"):
                raise Refusal(
                    415,
                    "send the body as Content-Type: application/json",
                    "unsupported_media_type",
                    close=True,
                )
        limit = self._policy.sizes.body_bytes
        if asked.content_length is not None:
            if not asked.content_length.isdigit() or len(asked.content_length) > 19:
                raise Refusal(400, "Content-Length is not a length", "bad_length", close=True)
            if int(asked.content_length) > limit:
                raise _too_large(limit)
            if not http2:
                return receive  # HTTP/1.1 delivers no byte more than announced
        return _counted(receive, limit, answer)


def _below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _counted(receive: Receive, limit: int, answer: Answer) -> Receive:
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                if answer.started:
                    return {"type": "http.disconnect"}
                # Raised in the app, which it takes down with it, and answered in `Guarded`.
                raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit} bytes", "request_too_large", close=True)
