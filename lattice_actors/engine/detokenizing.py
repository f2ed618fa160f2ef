"""From tokens to the text a client may see. Imports no mlx.

Text is held back while it may be the beginning of a stop string or of a marker, and by the
tokenizer's own streaming detokenizer while it ends inside a UTF-8 character. Stop strings are
looked for in the text alone, not in reasoning or calls, and not across them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import msgspec

from .frames import CallPiece
from .parts import AnswerParts, Event, Reading, Reasoning, Said


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
    met: str = attrs.field(init=False, default="")  # the stop string
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
            self.met = seen[end + minus_length : end]
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
    """The visible text of one stream, and beside it its reasoning and its calls."""

    _detokenizer: Detokenizer
    _matcher: StopMatcher
    _parts: AnswerParts | None = None  # None: all of it is text
    reasoning_tokens: int = attrs.field(init=False, default=0)
    _reasoning: str = attrs.field(init=False, default="")  # not taken yet, as are `_calls`
    _calls: list[CallPiece] = attrs.field(init=False, factory=list[CallPiece])

    @classmethod
    def of(
        cls, tokenizer: HasDetokenizer, stops: Sequence[str], reading: Reading | None = None
    ) -> AnswerText:
        """Begin an answer; empty stop strings count for nothing."""
        parts = None if reading is None else AnswerParts(reading)
        return cls(tokenizer.detokenizer, StopMatcher(tuple(filter(None, stops))), parts)

    @property
    def stopped(self) -> bool:
        """A stop string was met, or the one call is whole; what came before was returned."""
        return self._matcher.stopped or (self._parts is not None and self._parts.done)

    @property
    def stop_met(self) -> bool:
        """A stop string was met."""
        return self._matcher.stopped

    @property
    def stop(self) -> str:
        """The stop string that was met."""
        return self._matcher.met

    @property
    def calling(self) -> bool:
        """There is a call in it."""
        return self._parts is not None and self._parts.calls > 0

    @property
    def untaken(self) -> bool:
        """There is something for `take`."""
        return bool(self._reasoning or self._calls)

    def take(self) -> tuple[str, list[CallPiece]]:
        """Return what it has gained in reasoning and calls."""
        if not self.untaken:
            return "", []
        taken = self._reasoning, self._calls
        self._reasoning, self._calls = "", []
        return taken

    def add(self, token: int) -> str:
        """Take one token; return the text that is certain now."""
        self._detokenizer.add_token(token)
        segment = self._detokenizer.last_segment
        if self._parts is None:
            return self._matcher.feed(segment) if segment else ""
        thinking = self._parts.thinking
        text = self._sort(self._parts.feed(segment)) if segment else ""
        self.reasoning_tokens += thinking or self._parts.thinking
        return text

    def end(self, *, cut: bool = False) -> str:
        """No more tokens: return the rest. An unfinished character becomes U+FFFD.

        *cut*: the model had not ended by itself.
        """
        self._detokenizer.finalize()
        segment = self._detokenizer.last_segment
        if self._parts is None:
            return self._matcher.feed(segment) + self._matcher.flush()
        text = self._sort(self._parts.feed(segment) + self._parts.end(cut=cut))
        return text + self._matcher.flush()

    def _sort(self, events: Sequence[Event]) -> str:
        """Keep what is no text for `take`; return the text."""
        text = ""
        for event in events:
            if self._matcher.stopped:
                break
            match event:
                case Said():
                    text += self._matcher.feed(event.text)
                case Reasoning():
                    text += self._matcher.flush()
                    self._reasoning += event.text
                case CallPiece():
                    text += self._matcher.flush()
                    if self._calls and not event.id:  # goes on with the one before
                        first = self._calls.pop()
                        event = msgspec.structs.replace(
                            first, arguments=first.arguments + event.arguments
                        )
                    self._calls.append(event)
        return text
