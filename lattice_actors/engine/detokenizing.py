"""From tokens to the text a client may see. Imports no mlx.

Text is held back while it may be the beginning of a stop string, and by the tokenizer's own
streaming detokenizer while it ends inside a UTF-8 character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs


class Detokenizer(Protocol):
    """What we use of mlx-lm's streaming detokenizers."""

    @property
    def last_segment(self) -> str: ...

    def add_token(self, token: int) -> None: ...

    def finalize(self) -> None: ...


class HasDetokenizer(Protocol):
    """What we use of mlx-lm's tokenizer here."""

    @property
    def detokenizer(self) -> Detokenizer:
        """A fresh one at each access."""


@attrs.define(eq=False)
class StopMatcher:
    """Let text through up to the first stop string, however the text is cut into pieces.

    The first is the one that is complete first; of several complete at once, the longest.
    """

    stops: tuple[str, ...]
    stopped: bool = attrs.field(init=False, default=False)
    _held: str = attrs.field(init=False, default="")

    def feed(self, text: str) -> str:
        """Return what may be shown now; after a stop always the empty string."""
        if self.stopped:
            return ""
        if not self.stops:
            return text
        seen = self._held + text
        matches = [(seen.find(stop) + len(stop), -len(stop)) for stop in self.stops if stop in seen]
        if matches:
            end, minus_length = min(matches)
            self.stopped, self._held = True, ""
            return seen[: end + minus_length]
        shown = len(seen) - self._undecided(seen)
        self._held = seen[shown:]
        return seen[:shown]

    def flush(self) -> str:
        """The answer has ended: return what was held back."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, text: str) -> int:
        """Return the length of the longest end of *text* that begins some stop string."""
        most = min(max(map(len, self.stops)) - 1, len(text))
        for length in range(most, 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self.stops):
                return length
        return 0


@attrs.define(eq=False)
class AnswerText:
    """The visible text of one stream."""

    _detokenizer: Detokenizer
    _matcher: StopMatcher

    @classmethod
    def of(cls, tokenizer: HasDetokenizer, stops: Sequence[str]) -> AnswerText:
        """Begin an answer; empty stop strings count for nothing."""
        return cls(tokenizer.detokenizer, StopMatcher(tuple(filter(None, stops))))

    @property
    def stopped(self) -> bool:
        """A stop string was met; what came before it has been returned."""
        return self._matcher.stopped

    def add(self, token: int) -> str:
        """Take one token; return the text that is certain now."""
        self._detokenizer.add_token(token)
        segment = self._detokenizer.last_segment
        return self._matcher.feed(segment) if segment else ""

    def end(self) -> str:
        """No more tokens: return the rest. An unfinished character becomes U+FFFD."""
        self._detokenizer.finalize()
        return self._matcher.feed(self._detokenizer.last_segment) + self._matcher.flush()
