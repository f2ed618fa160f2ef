"""What the reader and the tokeniser of an engine tell its main thread. Values only."""

from __future__ import annotations

import attrs


@attrs.frozen
class Accepted:
    """A request is with the tokeniser."""

    rid: int


@attrs.frozen
class CancelSeen:
    """The reader took a `Cancel` at this monotonic time, seconds."""

    rid: int
    at: float


@attrs.frozen
class Failed:
    """The tokeniser broke over a request, which is a defect of ours."""

    rid: int
    text: str
