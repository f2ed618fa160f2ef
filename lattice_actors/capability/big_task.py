"""Whether a request is a big task: one that may be sent to the cloud. Pure.

The rule of the predecessor: text that does not look like code, and is long, a list, or a plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

_CODE = re.compile(
    r"[{}();\[\]]|```|#include\b|\bstack trace\b"
    r"|\b(?:def|class|function|var|let|const|import|from|traceback)\b",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^[ \t]*(?:[-*]|\d+\.)[ \t]+\S", re.MULTILINE)
MARKERS = (
    *("step ", "phase", "roadmap", "milestone", "end-to-end", "system design", "architecture"),
    *("tradeoff", "trade-offs", "migration plan", "rollout", "risks"),
)
MOST_CHARS = 100_000  # of a text that are looked at


@attrs.frozen
class BigTask:
    """From where on a text is big; one of them is enough."""

    words: int = 80
    chars: int = 500
    bullets: int = 4
    step_markers: int = 3

    def why(self, text: str) -> str | None:
        """Return why *text* is a big task, or None."""
        text = text[:MOST_CHARS].strip()
        if not text or _CODE.search(text):
            return None
        folded = text.casefold()
        markers = sum(marker in folded for marker in MARKERS)
        found = (
            (len(text.split()), self.words, "words"),
            (len(text), self.chars, "characters"),
            (len(_BULLET.findall(text)), self.bullets, "list lines"),
            (markers, self.step_markers, "words of a plan"),
        )
        return next((f"big task: {n} {what}" for n, least, what in found if n >= least), None)


def text_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return what the rule is about: what the user and the system say."""
    said = (turn.get("content") for turn in messages if turn.get("role") in ("user", "system"))
    return "\n".join(text for text in said if isinstance(text, str))
