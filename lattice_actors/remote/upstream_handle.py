"""How the rest of the program speaks to the actor of an upstream: messages, handle, views."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.mailbox import Mailbox

from .faults import Fault
from .health import State
from .probing import Probed


@attrs.frozen
class Begin:
    """Run a granted ticket."""

    ticket: Ticket


@attrs.frozen
class Cancel:
    """Nobody reads this ticket's answer any more."""

    ticket: Ticket


@attrs.frozen
class Want:
    """Somebody waits for a model that is not ready: say that it is, or why not."""

    model: str


@attrs.frozen
class Census:
    """Tell admission the truth about this model."""

    model: str


@attrs.frozen
class Refresh:
    """Ask the server now what it has."""


@attrs.frozen
class Looked:
    """The server was asked what it has."""

    probed: Probed


@attrs.frozen
class Tried:
    """A request was sent, and this came of it: None, an answer; else what went wrong."""

    fault: Fault | None


@attrs.frozen
class AnswerEnded:
    """The last word on a ticket has been said."""

    ticket: Ticket


Message = Begin | Cancel | Want | Census | Refresh | Looked | Tried | AnswerEnded


@attrs.frozen
class UpstreamView:
    """What is shown of one upstream."""

    name: str
    url: str
    kind: str
    state: State
    reason: str | None  # why it is down
    retry_in_s: float | None  # while it is down
    models: tuple[ModelEntry, ...]
    running: int
    limit: int  # answers at once, as it takes them now; 0: no limit
    failures: int  # in a row
    ejections: int
    answered: int  # requests, since the actor began
    failed: int
    loaded: tuple[str, ...] | None  # LM Studio's view; None: there is none

    def state_of(self, entry: ModelEntry) -> str:
        """Return the state of one of its models, as those of this machine are shown."""
        if self.state is State.DOWN:
            return "unavailable"
        return "ready" if self.loaded is None or entry.name in self.loaded else "cold"


@attrs.define(eq=False)
class UpstreamHandle:
    """What the rest of the program holds of an upstream. Telling only: it never waits."""

    name: str
    _mailbox: Mailbox[Message]
    _view: Callable[[], UpstreamView | None]

    def model(self, model: str) -> UpstreamModel:
        """Return where tickets for *model* run."""
        return UpstreamModel(model, self._mailbox)

    def want(self, model: str) -> None:
        self._mailbox.tell(Want(model))

    def refresh(self) -> None:
        self._mailbox.tell(Refresh())

    @property
    def view(self) -> UpstreamView | None:
        """A picture for people; None between two incarnations. Decide nothing by it."""
        return self._view()


@attrs.frozen
class UpstreamModel:
    """One model of an upstream, as admission's backend."""

    model: str
    _mailbox: Mailbox[Message]

    def begin(self, ticket: Ticket) -> None:
        self._mailbox.tell(Begin(ticket))

    def cancel(self, ticket: Ticket) -> None:
        self._mailbox.tell(Cancel(ticket))

    def take_census(self) -> None:
        self._mailbox.tell(Census(self.model))
