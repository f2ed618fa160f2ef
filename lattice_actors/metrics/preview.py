"""What is kept of a prompt, where the settings say that prompts are kept. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Bounds(Protocol):
    """How much is kept (`metrics.Shown`)."""

    @property
    def preview_chars(self) -> int: ...
    @property
    def max_prompt_chars(self) -> int: ...


def preview_of(messages: Sequence[Mapping[str, Any]], bounds: Bounds) -> dict[str, object]:
    """Return the roles, the last user message in short, and the whole of it up to a bound."""
    texts = [_text(message.get("content")) for message in messages if _role(message) == "user"]
    last = texts[-1] if texts else ""
    return {
        "role_counts": dict(Counter(_role(message) for message in messages)),
        "last_user_chars": len(last),
        "last_user": last[: bounds.preview_chars],
        "prompt": last[: bounds.max_prompt_chars],
    }


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role", ""))[:20]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))
