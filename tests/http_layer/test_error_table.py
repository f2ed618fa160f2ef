"""Family to status, and what a client is told; nothing internal leaves."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors import errors
from lattice_actors.errors import (
    ActorRestarted,
    ActorStopped,
    BadRequest,
    Busy,
    CannotFit,
    GaveUp,
    LatticeError,
    LoadFailed,
    MailboxFull,
    ModelCrashed,
    ModelNotFound,
    ModelQuarantined,
    NotFound,
    QueueFacts,
    QueueRefused,
    RequestCrashesEngine,
    ShuttingDown,
    Unavailable,
)
from lattice_http.errors import error_object, error_response, http_error, telling

FACTS = QueueFacts("m", 3, 8, 5, 9, waited_ms=1234)


def answer(error: BaseException) -> tuple[int, dict[str, str], dict[str, Any]]:
    status, headers, body = error_response(error, "req-1")
    assert len({name for name, _ in headers}) == len(headers)
    return status, dict(headers), json.loads(body)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("x"), 400, "invalid_request_error"),
        (RequestCrashesEngine("x"), 400, "invalid_request_error"),
        (NotFound("x"), 404, "invalid_request_error"),
        (ModelNotFound("x"), 404, "invalid_request_error"),
        (Busy("x"), 429, "rate_limit_error"),
        (MailboxFull("x"), 429, "rate_limit_error"),
        (QueueRefused("x"), 429, "queue_overloaded_total"),
        (QueueRefused("x", code="queue_timeout"), 429, "queue_timeout"),
        (Unavailable("x"), 503, "service_unavailable_error"),
        (LoadFailed("x"), 503, "service_unavailable_error"),
        (CannotFit("x"), 503, "service_unavailable_error"),
        (ModelQuarantined("x"), 503, "service_unavailable_error"),
        (ModelCrashed("x"), 503, "service_unavailable_error"),
        (ShuttingDown("x"), 503, "service_unavailable_error"),
        (ActorStopped("x"), 503, "service_unavailable_error"),
        (ActorRestarted("x"), 503, "service_unavailable_error"),
        (GaveUp("x"), 500, "server_error"),
        (LatticeError("x"), 500, "server_error"),
        (KeyError("x"), 500, "server_error"),
    ],
    ids=lambda value: repr(value),
)
def test_the_table(error: Exception, status: int, kind: str) -> None:
    got, headers, body = answer(error)

    assert got == status
    assert headers["Content-Type"] == "application/json"
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"] == kind
    assert body["error"]["message"]


def test_no_error_of_the_runtime_is_a_500_by_accident() -> None:
    families = [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, LatticeError)
    ]

    internal = {each.__name__ for each in families if answer(each("x"))[0] == 500}

    assert len(families) > 15
    assert internal <= {"LatticeError", "GaveUp", "EngineFault"}


def test_a_bad_request_names_its_field() -> None:
    _, _, body = answer(BadRequest("no", code="unsupported_parameter", param="n"))

    assert body["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "param": "n",
        "code": "unsupported_parameter",
    }


def test_a_refusal_by_admission_says_all_that_clients_expect() -> None:
    error = QueueRefused("full", code="queue_overloaded_model", retry_after_s=2.1, queue=FACTS)

    status, headers, body = answer(error)

    assert status == 429
    assert headers == {
        "Content-Type": "application/json",
        "Retry-After": "3",
        "X-MLX-Retry-Jitter-Sec": "1",
        "X-MLX-Queue-Depth": "3",
        "X-MLX-InFlight": "8",
    }
    assert body == {
        "error": {
            "message": "full",
            "type": "queue_overloaded_model",
            "param": None,
            "code": "queue_overloaded_model",
        },
        "type": "queue_overloaded_model",
        "status": 429,
        "retry": {
            "retry_after_sec": 3,
            "jitter_sec": 1,
            "strategy": "exponential_backoff_with_jitter",
        },
        "queue": {
            "model": "m",
            "queued_for_model": 3,
            "inflight_for_model": 8,
            "queued_total": 5,
            "inflight_total": 9,
            "waited_ms": 1234,
        },
    }


@given(st.none() | st.floats() | st.integers(-5, 10**9))
def test_a_refusal_always_has_a_whole_time_to_wait(predicted: float | None) -> None:
    _, headers, _ = answer(Busy("x", retry_after_s=predicted))

    assert 1 <= int(headers["Retry-After"]) <= 3600
    if predicted is not None and 0 < predicted <= 3600:
        assert int(headers["Retry-After"]) == max(1, math.ceil(predicted))


def test_waiting_is_only_advised_where_it_may_help() -> None:
    assert "Retry-After" not in answer(LoadFailed("broken files"))[1]
    assert "Retry-After" not in answer(BadRequest("x"))[1]
    assert answer(LoadFailed("no memory", retry_after_s=4.2))[1]["Retry-After"] == "5"
    assert answer(ActorRestarted("x"))[1]["Retry-After"] == "1"


def test_shutting_down_closes_the_connection() -> None:
    assert answer(ShuttingDown("x", retry_after_s=30))[1]["Connection"] == "close"
    assert "Connection" not in answer(Unavailable("x"))[1]


@pytest.mark.parametrize(
    "error",
    [KeyError("secret"), GaveUp("secret"), ActorStopped("secret"), RuntimeError("/secret/path")],
    ids=repr,
)
def test_internals_stay_in_the_log_under_the_request_id(error: Exception) -> None:
    _, _, body = error_response(error, "req-1")

    assert b"secret" not in body
    assert b"req-1" in body


def test_a_message_cannot_be_endless_or_break_the_body() -> None:
    _, _, body = answer(ModelNotFound("\ud800\r\n" + "x" * 100_000))

    assert len(body["error"]["message"]) < 5000


def test_the_error_of_a_stream_is_the_error_of_a_body() -> None:
    error = ModelCrashed("gone")

    assert error_object(error) == answer(error)[2]["error"]


# --- groups -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leaves", "told"),
    [
        ([KeyError("a"), Busy("b")], "b"),
        ([ActorStopped("a"), Unavailable("b"), BadRequest("c")], "c"),
        ([Unavailable("a"), QueueRefused("b")], "b"),
        ([GaveUp("a"), ActorStopped("b")], "b"),
        ([NotFound("a"), BadRequest("b"), BadRequest("c")], "b"),
        ([KeyError("a"), ValueError("b")], "a"),
    ],
)
def test_of_several_failures_the_most_telling_is_told(leaves: list[Exception], told: str) -> None:
    nested = BaseExceptionGroup("outer", [ExceptionGroup("inner", leaves[:1]), *leaves[1:]])

    assert telling(nested).args == (told,)
    assert error_response(nested, "r") == error_response(telling(nested), "r")


def test_a_group_of_nothing_but_interrupts_is_a_500() -> None:
    group = BaseExceptionGroup("outer", [KeyboardInterrupt("a")])

    assert isinstance(telling(group), KeyboardInterrupt)
    assert answer(group)[0] == 500


def test_what_is_no_group_is_itself() -> None:
    error = KeyError("a")

    assert telling(error) is error


# --- plain HTTP ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (405, "invalid_request_error"),
        (413, "invalid_request_error"),
        (415, "invalid_request_error"),
        (500, "server_error"),
        (503, "service_unavailable_error"),
    ],
)
def test_plain_errors_have_the_same_shape(status: int, kind: str) -> None:
    got = http_error(status, "no", "code", headers=[("Allow", "GET")])

    assert got.status == status
    assert dict(got.headers) == {"Content-Type": "application/json", "Allow": "GET"}
    assert json.loads(got.body) == {
        "error": {"message": "no", "type": kind, "param": None, "code": "code"}
    }
