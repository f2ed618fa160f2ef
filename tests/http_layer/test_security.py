"""The wrapper in front of the app: what it lets through, what it answers itself, and how."""

from __future__ import annotations

import contextlib
import json
import string
from collections.abc import Iterable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice_http.asgi import Headers, Message, Receive, Scope, Send
from lattice_http.cors import parse_origins
from lattice_http.door import Door, Refused
from lattice_http.hosts import check_bind, is_loopback
from lattice_http.request_line import Sizes
from lattice_http.security import Guarded, SecurityPolicy

JSON = (b"content-type", b"application/json")


@attrs.define
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = attrs.field(factory=dict)
    body: bytes = b""
    seen: Scope | None = None  # the scope the app was called with

    @property
    def error(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        error: dict[str, Any] = parsed["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


async def ask(
    policy: SecurityPolicy | None = None,
    method: str = "POST",
    target: bytes = b"/v1/chat/completions",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: Iterable[bytes] = (),
    *,
    kind: str = "http",
    http_version: str = "1.1",
) -> Answer:
    """Put one request through the wrapper; the app behind it reads the body and says 200."""
    answer = Answer()
    chunks = list(body)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer.seen = scope
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": []})
            return
        while (await receive()).get("more_body"):
            pass
        own = [(b"Content-Type", b"text/plain"), (b"X-Frame-Options", b"SAMEORIGIN")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b"fine", "more_body": False})

    async def receive() -> Message:
        await trio.lowlevel.checkpoint()
        if chunks:
            return {"type": "http.request", "body": chunks.pop(0), "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"].endswith("response.start"):
            assert not answer.status
            answer.status = message["status"]
            answer.headers = {name.lower(): value for name, value in message["headers"]}
        elif message["type"].endswith("response.body"):
            answer.body += message["body"]
        elif message["type"] == "websocket.accept":
            answer.status = 101
            answer.headers = dict(message["headers"])

    path, _, query = target.partition(b"?")
    scope: Scope = {
        "type": kind,
        "http_version": http_version,
        "path": path.decode("latin1"),
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "extensions": {"websocket.http.response": {}},
        "state": {},
    }
    if kind == "http":
        scope["method"] = method
    with trio.fail_after(5):
        await Guarded(app, policy or SecurityPolicy())(scope, receive, send)
    return answer


KEYED = SecurityPolicy(api_key="s3cret")
LOCAL = (b"host", b"localhost:5001")


# --- the key ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer s3cret"),
        (b"authorization", b"bearer s3cret"),
        (b"authorization", b"BEARER   s3cret "),
        (b"x-api-key", b"s3cret"),
    ],
)
async def test_the_key_opens(header: tuple[bytes, bytes]) -> None:
    answer = await ask(KEYED, headers=[header])

    assert answer.status == 200
    assert answer.seen is not None
    assert answer.seen["state"]["authenticated"] is True
    assert answer.seen["state"]["principal"] == "key:1ec1c26b50d5"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Basic s3cret")],
        [(b"authorization", b"s3cret")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"s3cret2")],
        [(b"x-api-key", b"\xff\xfe")],
    ],
)
@pytest.mark.parametrize("target", [b"/v1/models", b"/no/such/path", b"/metrics"])
async def test_without_the_key_it_is_401(headers: Headers, target: bytes) -> None:
    answer = await ask(KEYED, "GET", target, headers)

    assert answer.status == 401
    assert answer.headers[b"www-authenticate"] == b"Bearer"
    assert answer.error["type"] == "authentication_error"
    assert answer.seen is None


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", b"/livez", 200),
        ("HEAD", b"/healthz", 200),
        ("GET", b"/readyz?verbose", 200),
        ("GET", b"/dashboard", 200),
        ("GET", b"/dashboard/app.js", 200),
        ("POST", b"/dashboard", 401),
        ("GET", b"/dashboard/api/snapshot", 401),
        ("GET", b"/dashboard/ws", 401),
        ("GET", b"/dashboards", 401),
        ("GET", b"/dashboard/../v1/state", 401),
        ("GET", b"/dashboard//v1/state", 401),
        ("GET", b"/healthz/x", 401),
    ],
)
async def test_what_is_open_without_a_key(method: str, target: bytes, status: int) -> None:
    answer = await ask(KEYED, method, target)

    assert answer.status == status
    if answer.seen is not None:
        assert answer.seen["state"]["authenticated"] is False
        assert answer.seen["state"]["principal"] == "anonymous"


async def test_an_empty_key_is_no_key() -> None:
    answer = await ask(SecurityPolicy(api_key=""))

    assert answer.seen is not None
    assert answer.seen["state"] | {"request_id": ""} == {
        "request_id": "",
        "authenticated": True,
        "principal": "anonymous",
    }


def test_no_prefix_opens_everything() -> None:
    with pytest.raises(ValueError, match="below /"):
        SecurityPolicy(open_prefixes=("/",))


def test_the_key_is_in_no_repr() -> None:
    assert "s3cret" not in repr(KEYED)


# --- where from ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"LOCALHOST:5001", 200),
        (b"127.0.0.1:5001", 200),
        (b"127.9.9.9", 200),
        (b"[::1]:5001", 200),
        (b"app.localhost:80", 200),
        (b"host.docker.internal:5001", 200),
        (b"box.lan", 200),
        (b"evil.example", 403),
        (b"localhost.evil.example", 403),
        (b"127.0.0.1.evil.example", 403),
        (b"192.168.1.9:5001", 403),
        (b"[::2]", 403),
        (b"a b", 403),
        (b"localhost:x", 403),
    ],
)
async def test_only_our_own_names_are_answered(host: bytes, status: int) -> None:
    answer = await ask(SecurityPolicy(allowed_hosts=("box.lan",)), headers=[(b"host", host)])

    assert answer.status == status
    if status == 403:
        assert answer.error["code"] == "host_not_allowed"


@pytest.mark.parametrize("policy", [KEYED, SecurityPolicy(bound_host="0.0.0.0")])
async def test_any_name_will_do_with_a_key_or_on_a_public_address(policy: SecurityPolicy) -> None:
    headers = [(b"host", b"any.example"), (b"x-api-key", b"s3cret")]

    assert (await ask(policy, headers=headers)).status == 200


async def test_an_absolute_target_names_the_host() -> None:
    good = await ask(target=b"http://localhost:1/v1/models", headers=[(b"host", b"evil.example")])
    evil = await ask(target=b"http://evil.example/v1/models", headers=[LOCAL])

    assert good.seen is not None
    assert (good.seen["path"], good.seen["raw_path"]) == ("/v1/models", b"/v1/models")
    assert evil.status == 403


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_foreign_page_may_not_act_without_a_key(kind: str) -> None:
    page = [LOCAL, (b"origin", b"https://evil.example")]

    refused = await ask(headers=page, kind=kind)
    own = await ask(headers=[LOCAL, (b"origin", b"http://localhost:5001")], kind=kind)
    listed = await ask(SecurityPolicy(cors_origins=("https://evil.example",)), headers=page)

    assert refused.error["code"] == "origin_not_allowed"
    assert own.status in (200, 101)
    assert listed.status == 200


# --- CORS ------------------------------------------------------------------------------------

PREFLIGHT = [
    LOCAL,
    (b"origin", b"http://localhost:3000"),
    (b"access-control-request-method", b"POST"),
    (b"access-control-request-headers", b"authorization, x-lattice-priority"),
]


async def test_a_preflight_needs_no_key() -> None:
    policy = SecurityPolicy(api_key="k", cors_origins=("http://localhost:3000", "http://b"))

    answer = await ask(policy, "OPTIONS", headers=PREFLIGHT)

    assert answer.status == 204
    assert answer.seen is None
    assert answer.headers[b"access-control-allow-origin"] == b"http://localhost:3000"
    assert answer.headers[b"access-control-allow-headers"] == b"authorization, x-lattice-priority"
    assert answer.headers[b"vary"] == b"Origin"
    assert answer.headers[b"cross-origin-resource-policy"] == b"cross-origin"


async def test_without_cors_nothing_is_allowed() -> None:
    answer = await ask(KEYED, "OPTIONS", headers=PREFLIGHT)

    assert answer.status == 204
    assert b"POST" in answer.headers[b"allow"]
    assert not any(name.startswith(b"access-control") for name in answer.headers)


async def test_a_preflight_of_another_origin_is_refused() -> None:
    answer = await ask(SecurityPolicy(cors_origins=("http://b",)), "OPTIONS", headers=PREFLIGHT)

    assert answer.status == 403
    assert b"access-control-allow-origin" not in answer.headers


async def test_errors_carry_the_cors_headers_too() -> None:
    policy = SecurityPolicy(api_key="k", cors_origins=("*",))

    answer = await ask(policy, headers=[(b"origin", b"https://any.example")])

    assert answer.status == 401
    assert answer.headers[b"access-control-allow-origin"] == b"*"


async def test_a_request_without_origin_gets_no_cors_header_but_vary() -> None:
    answer = await ask(SecurityPolicy(cors_origins=("http://b",)))

    assert answer.headers[b"vary"] == b"Origin"
    assert b"access-control-allow-origin" not in answer.headers


def test_origins_are_trimmed() -> None:
    assert parse_origins(" http://a , ,http://b/,http://a") == ("http://a", "http://b")


# --- how much --------------------------------------------------------------------------------

SMALL = SecurityPolicy(sizes=Sizes(body_bytes=10))


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        (b"/", [(b"a", b"b")] * 101, 431, "too_many_headers"),
        (b"/", [(b"a", bytes(33 * 1024))], 431, "headers_too_large"),
        (b"/" * 8192, [], 414, "target_too_long"),
        (b"/?" + b"q" * 8192, [], 414, "target_too_long"),
        (b"http://[::1", [], 400, "bad_target"),
        (b"http://a@b/", [], 400, "bad_target"),
        (b"ftp://a/", [], 400, "bad_target"),
        (b"*", [], 400, "bad_target"),
        (b"", [], 400, "bad_target"),
        (
            b"/",
            [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
            400,
            "ambiguous_length",
        ),
        (b"/", [JSON, (b"content-length", b"-1")], 400, "bad_length"),
        (b"/", [JSON, (b"content-length", b"11")], 413, "request_too_large"),
        (b"/", [(b"content-length", b"5")], 415, "unsupported_media_type"),
        (
            b"/",
            [(b"content-type", b"text/plain"), (b"transfer-encoding", b"chunked")],
            415,
            "unsupported_media_type",
        ),
    ],
)
async def test_what_is_wrong_is_refused_by_name(
    target: bytes, headers: Headers, status: int, code: str
) -> None:
    answer = await ask(SMALL, target=target, headers=headers)

    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers[b"connection"] == b"close"
    assert answer.seen is None


@pytest.mark.parametrize(
    "kind", [b"application/json", b"Application/JSON; charset=utf-8", b"a/b+json"]
)
async def test_json_of_every_spelling_passes(kind: bytes) -> None:
    answer = await ask(headers=[(b"content-type", kind), (b"content-length", b"2")], body=[b"{}"])

    assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("http_version", ["1.1", "2"])
async def test_a_body_of_unknown_length_is_counted(method: str, http_version: str) -> None:
    headers = [JSON] if http_version == "2" else [JSON, (b"transfer-encoding", b"chunked")]

    fits = await ask(SMALL, method, headers=headers, body=[b"12345"] * 2, http_version=http_version)
    over = await ask(SMALL, method, headers=headers, body=[b"12345"] * 3, http_version=http_version)

    assert fits.status == 200
    assert (over.status, over.error["code"]) == (413, "request_too_large")
    assert (b"connection" in over.headers) is (http_version == "1.1")


async def test_an_unknown_method_is_405() -> None:
    answer = await ask(method="TRACE")

    assert answer.status == 405
    assert b"GET" in answer.headers[b"allow"]


# --- what answers carry ----------------------------------------------------------------------


@pytest.mark.parametrize("policy", [SecurityPolicy(), KEYED])
async def test_every_answer_is_hardened(policy: SecurityPolicy) -> None:
    answer = await ask(policy)

    assert answer.headers[b"x-content-type-options"] == b"nosniff"
    assert answer.headers[b"referrer-policy"] == b"no-referrer"
    assert answer.headers[b"cross-origin-resource-policy"] == b"same-origin"
    own = answer.status == 200  # the app's own value stays
    assert answer.headers[b"x-frame-options"] == (b"SAMEORIGIN" if own else b"DENY")


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        (b"trace-1.A_b", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"a b", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("policy", [SecurityPolicy(), KEYED])
async def test_a_sane_request_id_is_echoed(
    policy: SecurityPolicy, given_id: bytes, kept: bool
) -> None:
    answer = await ask(policy, headers=[(b"x-request-id", given_id)])

    answered = answer.headers[b"x-request-id"]
    assert (answered == given_id) is kept
    assert len(answered) >= 11
    if answer.seen is not None:
        assert answer.seen["state"]["request_id"] == answered.decode()


async def test_anthropic_clients_find_their_error() -> None:
    answer = await ask(KEYED, target=b"/v1/messages")

    assert json.loads(answer.body)["type"] == "error"
    assert answer.error["type"] == "authentication_error"


async def test_a_crash_outside_the_app_is_an_error_object() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret detail")

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    await Guarded(app, SecurityPolicy())(scope, nothing, send)

    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["error"]["message"] == "internal error"


async def test_a_stream_passes_piece_by_piece_and_a_disconnect_reaches_the_app() -> None:
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        order.append((await receive())["type"])

    async def receive() -> Message:
        order.append("asked")
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        order.append(message["type"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    await Guarded(app, SecurityPolicy())(scope, receive, send)

    assert order == ["http.response.start", "http.response.body", "asked", "http.disconnect"]


# --- laws ------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        b"host", b"authorization", b"x-api-key", b"origin", b"content-type", b"content-length",
        b"transfer-encoding", b"x-request-id", b"access-control-request-method",
        b"access-control-request-headers", b"access-control-request-private-network", b"expect",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"localhost", b"*", b"chunked", b"5", b"application/json", b"Bearer k", b"["]),
)
POLICIES = st.builds(
    SecurityPolicy,
    bound_host=st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "box"]),
    api_key=st.sampled_from([None, "", "k"]),
    allowed_hosts=st.sampled_from([(), ("box.lan",), ("[::5]",)]),
    cors_origins=st.sampled_from([(), ("*",), ("http://a",)]),
    sizes=st.just(Sizes(headers=20, header_bytes=300, target_bytes=100, body_bytes=20)),
)


@settings(max_examples=400, deadline=None)
@given(
    policy=POLICIES,
    method=st.one_of(
        st.sampled_from(["GET", "POST", "OPTIONS", "DELETE", "CONNECT", "TRACE"]),
        st.text(string.ascii_uppercase, max_size=30),
    ),
    target=st.one_of(
        st.binary(max_size=120),
        st.sampled_from([b"*", b"/", b"http://[::1", b"http://localhost/x?y", b"//", b"/%00%ff"]),
    ),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=25),
    body=st.lists(st.binary(max_size=15), max_size=4),
    kind=st.sampled_from(["http", "websocket"]),
    http_version=st.sampled_from(["1.0", "1.1", "2"]),
)
def test_no_request_gets_a_5xx_or_hangs(
    policy: SecurityPolicy,
    method: str,
    target: bytes,
    headers: Headers,
    body: list[bytes],
    kind: str,
    http_version: str,
) -> None:
    answer = trio.run(
        lambda: ask(policy, method, target, headers, body, kind=kind, http_version=http_version)
    )

    assert 100 < answer.status < 500
    assert b"x-request-id" in answer.headers
    if answer.seen is None and answer.status != 204:
        assert answer.error["code"]
    if policy.api_key and answer.seen is not None and answer.seen["state"]["authenticated"]:
        assert any(b"k" in value for _, value in headers)


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
