"""Whatever is sent to the wrapper, it answers."""

from __future__ import annotations

import string

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice_http.asgi import Headers
from lattice_http.request_line import Sizes
from lattice_http.security import SecurityPolicy
from tests.http_layer.guarded import ask

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


@settings(max_examples=400)
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
