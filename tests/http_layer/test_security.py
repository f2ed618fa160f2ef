"""The wrapper in front of the app: what it lets through, what it answers itself, and how."""

from __future__ import annotations

import json

import pytest

from lattice_actors.errors import UpstreamFailed
from lattice_http.asgi import Headers, Message, Receive, Scope, Send
from lattice_http.security import Guarded, SecurityPolicy
from tests.http_layer.guarded import KEYED, LOCAL, ask

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


async def sent_by(error: Exception) -> list[Message]:
    """Return what is sent where the app raises *error*."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

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
    return sent


async def test_a_failure_that_outlived_its_client_is_told_to_nobody() -> None:
    """Cancelled in the turn in which it failed, so no route has answered it."""
    assert await sent_by(ExceptionGroup("", [UpstreamFailed("too late")])) == []


async def test_a_crash_outside_the_app_is_an_error_object() -> None:
    sent = await sent_by(RuntimeError("secret detail"))

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
