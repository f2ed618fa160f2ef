"""What pages of other origins may do."""

from __future__ import annotations

from lattice_http.security import SecurityPolicy
from tests.http_layer.guarded import KEYED, LOCAL, ask

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


async def test_a_slash_behind_an_origin_is_forgiven() -> None:
    policy = SecurityPolicy(cors_origins=("HTTP://A.example/",))

    answer = await ask(policy, headers=[(b"origin", b"http://a.example")])

    assert answer.headers[b"access-control-allow-origin"] == b"http://a.example"
