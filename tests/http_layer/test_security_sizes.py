"""How much a request may be, and of what kind."""

from __future__ import annotations

import pytest

from lattice_http.asgi import Headers
from lattice_http.request_line import Sizes
from lattice_http.security import SecurityPolicy
from tests.http_layer.guarded import JSON, ask

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
