"""What the other threads of an engine tell its main thread. Values only."""

from __future__ import annotations

import attrs


@attrs.frozen
class Accepted:
    """A request is on its way to the tokeniser."""

    rid: int


@attrs.frozen
class CancelSeen:
    """The reader took a `Cancel` at this monotonic time, seconds."""

    rid: int
    at: float


@attrs.frozen
class Failed:
    """A thread broke over a request, which is a defect of ours."""

    rid: int
    text: str
