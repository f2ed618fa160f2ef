"""A swarm without an answer: what it tells its caller. Values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lattice_actors.errors import LatticeError, Unavailable

from .events import Row


class NoModels(Unavailable):
    """What `models` stands for is nothing at the moment."""

    code = "no_models_loaded"


class SwarmFailed(LatticeError):
    """No branch has an answer, or one that all depends on has none. `rows` say why."""

    code = "swarm_failed"

    def __init__(
        self, message: str, rows: Sequence[Row], *, code: str | None = None, step: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.rows = tuple(rows)  # all that were begun, also those that are ok
        self.step = step  # of a pipeline: the one that failed

    @property
    def kinds(self) -> dict[str, int]:
        """How many rows failed in which way, in alphabetical order."""
        return dict(sorted(Counter(row.error_kind or "unknown" for row in self.failed).items()))

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows that are not ok."""
        return tuple(row for row in self.rows if not row.ok)


def all_failed(rows: Sequence[Row]) -> SwarmFailed:
    """Return the error for a swarm of which every branch failed; none of *rows* is ok."""
    said = "; ".join(f"{row.agent_id}: {row.error}" for row in rows)
    message = f"all swarm agents failed: {said}"
    if all(row.error_kind == "empty_response" for row in rows):
        message += (
            ". Every answer was empty: a larger max_tokens may help, also where a model only "
            "fills its reasoning_content."
        )
    return SwarmFailed(message, rows)
