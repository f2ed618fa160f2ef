"""How the rest of the program speaks to a model actor: its messages and its handle."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.engine.news import EngineNews
from lattice_actors.mailbox import Mailbox

from .states import ModelState


@attrs.frozen
class Load:
    """Start the engine of this directory; *kv_budget_bytes* bounds its batch (0: no bound)."""

    entry: ModelEntry
    kv_budget_bytes: int


@attrs.frozen
class Stop:
    """Nobody uses the model: end its engine."""

    reason: str


@attrs.frozen
class Begin:
    """Run a granted ticket."""

    ticket: Ticket


@attrs.frozen
class Cancel:
    """Nobody reads this ticket's answer any more."""

    ticket: Ticket


@attrs.frozen
class Census:
    """Tell admission the truth about this model."""


@attrs.frozen
class Account:
    """Tell the evictor the truth about this model's memory."""


@attrs.frozen
class Pardon:
    """Forget past failures: the files changed, or an operator said so."""


@attrs.frozen
class FromEngine:
    """News of the engine, with the number of its incarnation."""

    incarnation: int
    news: EngineNews


@attrs.frozen
class RestartDue:
    """The back-off is over."""

    incarnation: int


Message = Load | Stop | Begin | Cancel | Census | Account | Pardon | FromEngine | RestartDue


@attrs.frozen
class ModelView:
    """What is shown of one model."""

    model: str
    state: ModelState
    pid: int | None
    live: int
    waiting_for_engine: int
    restarts: int
    steps: int
    decoded_tokens: int
    ghost_tokens: int
    stray_frames: int  # of the engine, about answers that are not known here
    kv_bytes: int
    barred: str | None
    prefix_bytes: int = 0  # of kv_bytes, what is kept for requests to come


@attrs.define(eq=False)
class ModelHandle:
    """What the rest of the program holds of a model actor. Telling only: it never waits."""

    model: str
    _mailbox: Mailbox[Message]
    _view: Callable[[], ModelView | None]

    def load(self, entry: ModelEntry, kv_budget_bytes: int) -> None:
        self._mailbox.tell(Load(entry, kv_budget_bytes))

    def stop(self, reason: str) -> None:
        self._mailbox.tell(Stop(reason))

    def begin(self, ticket: Ticket) -> None:
        self._mailbox.tell(Begin(ticket))

    def cancel(self, ticket: Ticket) -> None:
        self._mailbox.tell(Cancel(ticket))

    def take_census(self) -> None:
        self._mailbox.tell(Census())

    def report(self) -> None:
        self._mailbox.tell(Account())

    def pardon(self) -> None:
        self._mailbox.tell(Pardon())

    @property
    def view(self) -> ModelView | None:
        """A picture for people; None between two incarnations. Decide nothing by it."""
        return self._view()
