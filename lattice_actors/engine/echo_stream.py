"""One answer of the echo engine in the making. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from . import frames
from .echo_script import Script

if TYPE_CHECKING:  # it costs a third of the time to start
    from .parts import AnswerParts


class Stream(msgspec.Struct):
    """One answer in the making."""

    gen: frames.Gen
    prompt: str
    words: list[str]  # of the last turn, each with the space before it
    prompt_tokens: int
    ready_at: float  # monotonic, seconds: prefill is over
    prefilled: bool = False
    done: int = 0  # tokens generated
    ghosts: int = 0  # of these, tokens generated after the reader had the Cancel
    parts: AnswerParts | None = None  # of a scripted answer
    reasoning_tokens: int = 0

    def text(self, tokens: int) -> str:
        """Return the next *tokens* words; the first is "echo:"."""
        turn = range(self.done - 1, self.done - 1 + tokens)
        return "".join("echo:" if i < 0 else self.words[i % len(self.words)] for i in turn)

    def next(self, script: Script) -> tuple[int, str]:
        """Return how many tokens a step adds, and the reason if they are the last."""
        left, reason = self.gen.max_tokens - self.done, "length"
        if script.say:
            left, reason = min((left, "length"), (len(self.words) - self.done, "stop"))
        elif script.cycles:
            echo = 1 + script.cycles * len(self.words) - self.done
            left, reason = min((left, "length"), (echo, "stop"))
        return min(left, script.flood), reason if left <= script.flood else ""

    def end(self, reason: str, text: str = "", tokens: int = 0) -> frames.End:
        """Return the end of it, with its last *text*."""
        return frames.End(
            self.gen.rid,
            reason,
            self.prompt_tokens,
            self.done,
            text=text,
            tokens=tokens,
            ghost_tokens=self.ghosts,
        )


def words_of(text: str) -> list[str]:
    """Cut *text* into tokens of a few letters, so that markers are cut, too."""
    return [text[start : start + 4] for start in range(0, len(text), 4)]


def parts_of(gen: frames.Gen) -> AnswerParts:
    """Return what reads a scripted answer to *gen*."""
    from .call_formats import HERMES
    from .parts import AnswerParts, Reading

    calls = HERMES if gen.tools and gen.tool_choice != "none" else None
    single = gen.parallel is False or bool(gen.tool_name)
    return AnswerParts(Reading(("<think>", "</think>"), calls, single=single))
