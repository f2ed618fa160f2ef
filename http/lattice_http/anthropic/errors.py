"""Refusals in Anthropic's shape, made of those in OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lattice_http.errors import ErrorAnswer
from lattice_http.json_bytes import encode

PATH = "/v1/messages"

# From the types of OpenAI's error objects; those of refusals by the queue are not here.
_TYPES = {
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "authentication_error",
    "permission_error": "permission_error",
    "rate_limit_error": "rate_limit_error",
    "service_unavailable_error": "overloaded_error",
    "server_error": "api_error",
}

# Their SDK reads it below `details`, and then sends the whole conversation instead.
THREAD_UNSUPPORTED = "thread_unsupported_request"

_STATUS_TYPES = {404: "not_found_error", 413: "request_too_large"}


def is_ours(path: str) -> bool:
    """Whether clients of Anthropic's ask for this path."""
    return path == PATH or path.startswith(PATH + "/")


def error_body(error: Mapping[str, Any], status: int = 0) -> dict[str, Any]:
    """Return the body of a refusal, and of the ``error`` event, of OpenAI's error object.

    What that object has more (`param`, `code`) stays: clients skip what they do not know.
    """
    kind = _STATUS_TYPES.get(status) or _TYPES.get(str(error["type"]), "rate_limit_error")
    told = {**error, "type": kind}
    if error.get("code") == THREAD_UNSUPPORTED:
        told["details"] = {"error_code": THREAD_UNSUPPORTED, "unsupported": [error["param"]]}
    return {"type": "error", "error": told}


def in_our_shape(answer: ErrorAnswer) -> ErrorAnswer:
    """Return the same refusal as Anthropic's clients read it; status and headers stay."""
    body = json.loads(answer.body)
    return answer._replace(body=encode(body | error_body(body["error"], answer.status)))
