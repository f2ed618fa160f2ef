"""Errors of all routes: one object, one table of statuses."""

from __future__ import annotations

from .headers import BUSY, header_refs
from .shapes import COUNT, NUMBER, TEXT, WHOLE, Schema, const, maybe, nullable, obj, one_of, ref

JSON = "application/json"

KINDS = one_of(
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "rate_limit_error",
    "queue_overloaded_model",
    "queue_overloaded_total",
    "queue_timeout",
    "deadline_exceeded",
    "upstream_error",
    "service_unavailable_error",
    "server_error",
)
ANTHROPIC_KINDS = one_of(
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "overloaded_error",
    "api_error",
)

_MESSAGE = {"type": "string", "description": "For people."}
_PARAM = {
    "type": ["string", "null"],
    "description": "The field or the header to blame, `messages[0].content`.",
}
_CODE = {"type": "string", "description": "For programs; stable."}
_BUSY = {
    "status": maybe({**WHOLE, "description": "429, again."}),
    "retry": maybe(ref("Retry")),
    "queue": maybe(ref("QueueFacts")),
}

SCHEMAS: dict[str, Schema] = {
    "ErrorObject": obj(message=_MESSAGE, type=KINDS, param=_PARAM, code=_CODE),
    "Error": obj(
        "What every refusal and failure answers. `type`, `status`, `retry` and `queue` are of a "
        "429.",
        error=ref("ErrorObject"),
        type=maybe({**TEXT, "description": "`error.type`, again."}),
        redirect=maybe({**TEXT, "description": "Where else to ask."}),
        hint=maybe(TEXT),
        **_BUSY,
    ),
    "AnthropicError": obj(
        "The same as clients of Anthropic's read it.",
        type=const("error"),
        error=obj(type=ANTHROPIC_KINDS, message=_MESSAGE, param=_PARAM, code=_CODE),
        **_BUSY,
    ),
    "Retry": obj(
        "When to come back.",
        retry_after_sec=nullable(COUNT),
        jitter_sec=NUMBER,
        strategy=const("exponential_backoff_with_jitter"),
    ),
    "QueueFacts": obj(
        "The queue that refused it.",
        model=TEXT,
        queued_for_model=COUNT,
        inflight_for_model=COUNT,
        queued_total=COUNT,
        inflight_total=COUNT,
        waited_ms=COUNT,
    ),
}

# status: what it means, whether it may say when to come back, and an example as
# (message, type, param, code)
STATUSES: dict[int, tuple[str, bool, tuple[str, str, str | None, str]]] = {
    400: (
        (
            "The request can never succeed as it is: `invalid_request`, `invalid_json`, "
            "`unsupported_parameter`, `unsupported_model`, `no_model_for_constraints`, "
            "`context_length_exceeded`, `request_crashes_engine`, `request_cancelled` and others."
        ),
        False,
        (
            "max_tokens: expected int >= 1",
            "invalid_request_error",
            "max_tokens",
            "invalid_request",
        ),
    ),
    401: (
        "The key is missing or wrong.",
        False,
        (
            "send the API key as 'Authorization: Bearer ...' or 'X-API-Key: ...'",
            "authentication_error",
            None,
            "invalid_api_key",
        ),
    ),
    403: (
        (
            "Without a key: `host_not_allowed` (the Host header names another machine), "
            "`origin_not_allowed` (a foreign web page)."
        ),
        False,
        (
            "a page of another origin may not do this; allow it with --cors-origins",
            "permission_error",
            None,
            "origin_not_allowed",
        ),
    ),
    404: (
        "`model_not_found` (the message lists what there is), `not_found`.",
        False,
        ("There is no model 'nemo'.", "invalid_request_error", "model", "model_not_found"),
    ),
    408: (
        "`request_timeout`: the body did not arrive in time.",
        False,
        (
            "The body of the request did not arrive in time.",
            "invalid_request_error",
            None,
            "request_timeout",
        ),
    ),
    413: (
        "`request_too_large`.",
        False,
        (
            "the body is larger than 10485760 bytes",
            "invalid_request_error",
            None,
            "request_too_large",
        ),
    ),
    415: (
        "`unsupported_media_type`.",
        False,
        (
            "send the body as Content-Type: application/json",
            "invalid_request_error",
            None,
            "unsupported_media_type",
        ),
    ),
    429: (
        (
            "No room now: `queue_overloaded_model`, `queue_overloaded_total`, `queue_timeout`, "
            "`deadline_exceeded`, `upstream_overloaded`, `daily_cap_reached`."
        ),
        True,
        (
            "the predicted wait is longer than this request may wait",
            "queue_timeout",
            None,
            "queue_timeout",
        ),
    ),
    502: (
        (
            "Another server failed: `upstream_failed`, `upstream_timeout`, `upstream_unreachable` "
            "and others."
        ),
        False,
        ("gpu did not answer in 60 s", "upstream_error", None, "upstream_timeout"),
    ),
    503: (
        (
            "The model cannot be had: `model_unavailable`, `model_load_failed`, "
            "`model_quarantined`, `model_does_not_fit`, `model_crashed`, `oom`, "
            "`server_shutting_down`. `Retry-After` where waiting helps."
        ),
        True,
        (
            "The server is shutting down.",
            "service_unavailable_error",
            None,
            "server_shutting_down",
        ),
    ),
}

GENERATING = (404, 429, 502, 503)  # what may go wrong where a model answers

_THEIR_KIND = {
    "queue_timeout": "rate_limit_error",
    "service_unavailable_error": "overloaded_error",
    "upstream_error": "rate_limit_error",
}
_THEIR_STATUS = {404: "not_found_error", 413: "request_too_large"}


def responses() -> Schema:
    """Return the answers that operations refer to, "404" and "Anthropic404"."""
    shown: Schema = {}
    for status, (text, retry, (message, kind, param, code)) in STATUSES.items():
        error = {"message": message, "type": kind, "param": param, "code": code}
        theirs = {**error, "type": _THEIR_STATUS.get(status, _THEIR_KIND.get(kind, kind))}
        headers = BUSY if status == 429 else ("Retry-After",) if retry else ()
        headers = ("WWW-Authenticate",) if status == 401 else headers
        for name, schema, example in (
            (f"{status}", "Error", {"error": error}),
            (f"Anthropic{status}", "AnthropicError", {"type": "error", "error": theirs}),
        ):
            shown[name] = {
                "description": text,
                "headers": header_refs(headers),
                "content": {JSON: {"schema": ref(schema), "example": example}},
            }
    return shown
