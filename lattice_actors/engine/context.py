"""Whether prompt and answer fit the context, and what is dropped so that they do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from .frames import Gen

KEPT_ROLES = ("system", "developer")  # never trimmed

Message = Mapping[str, Any]


class Refusal(Exception):
    """Why a request gets no answer; *param* is the field to blame."""

    def __init__(self, code: str, text: str, param: str | None) -> None:
        super().__init__(text)
        self.code, self.param = code, param


@attrs.frozen
class Context:
    """The context of one model."""

    tokens: int  # the model's own limit

    def limit(self, gen: Gen) -> int:
        """Return how many tokens prompt and answer may have together."""
        return min(self.tokens, gen.context_tokens or self.tokens)

    def room(self, gen: Gen) -> int:
        """Return how many of them the prompt may have."""
        return self.limit(gen) - self._least_answer(gen) - gen.trim_buffer

    @staticmethod
    def _least_answer(gen: Gen) -> int:
        return 1 if gen.shorten else gen.max_tokens

    def shortened(self, gen: Gen, tokens: list[int]) -> Gen:
        """Return *gen* with no more `max_tokens` than the context leaves, where it allows that."""
        if not gen.shorten:
            return gen
        room = self.limit(gen) - len(tokens) - gen.trim_buffer
        return msgspec.structs.replace(gen, max_tokens=min(gen.max_tokens, room))

    def too_long(self, gen: Gen, prompt: int, param: str, least: str = "") -> Refusal:
        """Return the refusal of so long a *prompt*; *least*: it has "at least " so many tokens."""
        return Refusal(
            "context_length_exceeded",
            f"the context has {self.limit(gen)} tokens, the request needs {least}"
            f"{prompt + self._least_answer(gen) + gen.trim_buffer}: {prompt} in the prompt, "
            f"{self._least_answer(gen)} for the answer (max_tokens), "
            f"{gen.trim_buffer} kept free",
            param,
        )


def trimmings(messages: Sequence[Message]) -> list[list[Message]]:
    """Return ever shorter conversations: the oldest exchange goes first, whole.

    System messages stay, and so does everything from the last user turn on. An exchange is a
    user turn with all that follows it up to the next, so none begins with an answer.
    """
    users = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    shorter = []
    for start in users:
        kept = [m for m in messages[:start] if m.get("role") in KEPT_ROLES]
        rest = list(messages[start:])
        if len(kept) + len(rest) < len(messages):
            shorter.append(kept + rest)
    return shorter
