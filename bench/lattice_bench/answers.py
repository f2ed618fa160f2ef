"""What a client notes about answers. Pure."""

from __future__ import annotations

from itertools import accumulate

import attrs


@attrs.define
class Answer:
    """One answer. Times are in seconds; `error` is None if it came to its proper end."""

    began: float  # Trio clock: the connection was open, nothing was sent
    ended: float = 0.0  # Trio clock
    ttft_s: float | None = None  # to the first text
    gaps_s: list[float] = attrs.field(factory=list[float])  # between two events with text
    events: int = 0  # that carried text
    tokens: int = 0  # generated, as the server counts; else its events with text
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    done: bool = False  # "[DONE]" was there
    error: str | None = None
    left: bool = False  # we went away on purpose, in the middle of it
    parts: list[str] = attrs.field(factory=list[str])  # of its text, reasoning left out
    status: int | None = None  # of the response; None if there was none
    retry_after_s: float | None = None  # what a refusal asks us to wait

    @property
    def total_s(self) -> float:
        """From sending to the end of the answer."""
        return self.ended - self.began

    @property
    def text(self) -> str:
        """What was said, reasoning left out."""
        return "".join(self.parts)

    @property
    def texts_at(self) -> list[float]:
        """When each event with text came, on the Trio clock."""
        if self.ttft_s is None:
            return []
        return list(accumulate(self.gaps_s, initial=self.began + self.ttft_s))


@attrs.frozen
class Run:
    """All answers of one load, and how long it took as a whole."""

    concurrency: int
    answers: tuple[Answer, ...]

    @property
    def good(self) -> list[Answer]:
        """The answers that came to their proper end."""
        return [answer for answer in self.answers if answer.error is None]

    @property
    def wall_s(self) -> float:
        """From the first request sent to the last answer ended."""
        if not self.answers:
            return 0.0
        return max(a.ended for a in self.answers) - min(a.began for a in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """Over all streams; tokens of failed answers do not count."""
        return sum(a.tokens for a in self.good) / self.wall_s if self.wall_s else 0.0
