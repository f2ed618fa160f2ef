"""What a caller may tell a model's chat template: ``chat_template_kwargs``, and the effort."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Raw

from .bodies import OBJECT, check_portable, decode_part, is_empty, unsupported, wrong

MAX_TEMPLATE_OPTIONS_BYTES = 16 * 1024
MAX_TEMPLATE_OPTIONS_DEPTH = 8

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


def with_effort(options: dict[str, Any], effort: Effort | None) -> dict[str, Any]:
    """Tell templates of the effort; what the caller told them itself is stronger."""
    if effort is None:
        return options
    return {"reasoning_effort": effort, "enable_thinking": effort != "none"} | options


def read_template_options(raw: Raw) -> dict[str, Any]:
    """Decode ``chat_template_kwargs``; raises `BadRequest` for what must not reach a template."""
    name = "chat_template_kwargs"
    if is_empty(raw, b"{}", name):
        return {}
    if len(memoryview(raw)) > MAX_TEMPLATE_OPTIONS_BYTES:
        raise wrong(name, f"more than {MAX_TEMPLATE_OPTIONS_BYTES} bytes")
    options = decode_part(raw, OBJECT, name)
    for key in options:
        if key in RESERVED_TEMPLATE_OPTIONS:
            raise unsupported(f"{name}.{key}", "set by the server")
    check_portable(options, MAX_TEMPLATE_OPTIONS_DEPTH, name)
    return options
