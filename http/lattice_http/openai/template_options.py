"""What a caller may tell a model's chat template: ``chat_template_kwargs``, and the effort."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw

from .bodies import INT64_MIN, decode_part, is_empty, unsupported, wrong

MAX_TEMPLATE_OPTIONS_BYTES = 16 * 1024
MAX_TEMPLATE_OPTIONS_DEPTH = 8
UINT64_MAX = 2**64 - 1  # the largest integer that goes to the engine

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

# Arguments of `apply_chat_template` that are ours. A template of the caller's own would run in
# the engine, and the others change what kind of value comes back.
RESERVED_TEMPLATE_OPTIONS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)

_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def with_effort(options: dict[str, Any], effort: Effort | None) -> dict[str, Any]:
    """Tell templates of the effort; what the caller told them itself is stronger."""
    if effort is None:
        return options
    return {"reasoning_effort": effort, "enable_thinking": effort != "none"} | options


def read_template_options(raw: Raw) -> dict[str, Any]:
    """Decode ``chat_template_kwargs``, of which the engine takes only what msgpack can carry."""
    name = "chat_template_kwargs"
    if is_empty(raw, b"{}", name):
        return {}
    if len(memoryview(raw)) > MAX_TEMPLATE_OPTIONS_BYTES:
        raise wrong(name, f"more than {MAX_TEMPLATE_OPTIONS_BYTES} bytes")
    options = decode_part(raw, _OBJECT, name)
    for key in options:
        if key in RESERVED_TEMPLATE_OPTIONS:
            raise unsupported(f"{name}.{key}", "set by the server")
    _check_portable(options, MAX_TEMPLATE_OPTIONS_DEPTH)
    return options


def _check_portable(value: object, depth: int) -> None:
    match value:
        case dict() | list() if depth == 0:
            raise wrong("chat_template_kwargs", "nested too deeply")
        case dict():
            for inner in value.values():
                _check_portable(inner, depth - 1)
        case list():
            for inner in value:
                _check_portable(inner, depth - 1)
        case int() if not INT64_MIN <= value <= UINT64_MAX:
            raise wrong("chat_template_kwargs", "an integer has more than 64 bits")
        case _:
            pass
