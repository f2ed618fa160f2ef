"""What admission is told and asked: one class a message."""

from __future__ import annotations

from typing import Protocol

import attrs

from lattice_actors.engine import frames
from lattice_actors.mailbox import Reply

from .ticket import Ticket
from .verdicts import Capacity, Class, QueueView


class Barring(Protocol):
    """Why a model cannot be had (`residency.restart.Barred`)."""

    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def retry_after_s(self) -> float | None: ...


@attrs.frozen(eq=False)
class Enter:
    """Ask for a grant; the answer is the time spent in the queue, seconds."""

    ticket: Ticket
    reply: Reply[float]


@attrs.frozen(eq=False)
class EnterGang:
    """Let in all of these tickets or none; the answer is only that they are in."""

    branches: tuple[Ticket, ...]
    later: tuple[Ticket, ...]  # held until `Eligible`
    reply: Reply[None]


@attrs.frozen
class Eligible:
    """A ticket of a gang may be granted from now on."""

    ticket: Ticket


@attrs.frozen
class Leave:
    """The request is over, or has gone."""

    ticket: Ticket


@attrs.frozen
class Ended:
    """A backend has said its last word on a ticket."""

    ticket: Ticket


@attrs.frozen
class Ready:
    """A model can run tickets. *measured*: what its engine found out while loading."""

    model: str
    capacity: Capacity
    measured: frames.Ready | None


@attrs.frozen
class Gone:
    """A model's memory is free."""

    model: str


@attrs.frozen
class Failed:
    """A model cannot be had now; whoever waits for it is told why."""

    model: str
    barred: Barring
    streams_run: bool = False  # what was granted goes on


@attrs.frozen
class Loading:
    """The evictor: the load of a model has begun."""

    model: str


@attrs.frozen
class Pardoned:
    """The evictor: a model that failed may be tried again."""

    model: str


@attrs.frozen
class MakeRoom:
    """The evictor: to load *model*, *victims* must go, when their turn is over."""

    model: str
    victims: tuple[str, ...]


@attrs.frozen
class Drain:
    """The evictor: no more grants for *model*, whatever waits."""

    model: str


@attrs.frozen
class Census:
    """A backend's truth, for an incarnation that has lost its memory."""

    model: str
    capacity: Capacity | None  # None: not ready
    running: tuple[Ticket, ...]


@attrs.frozen
class Remind:
    """The evictor has lost its memory: tell it again what is wanted, drained and used."""


@attrs.frozen(eq=False)
class View:
    """What does the queue look like?"""

    reply: Reply[QueueView[Ticket]]


@attrs.frozen
class Fate:
    """How a ticket would fare, if it came now. *load_s* is in *wait_s* where it is needed."""

    klass: Class
    position: int
    wait_s: float
    load_s: float


@attrs.frozen(eq=False)
class Predict:
    """How would this ticket fare?"""

    ticket: Ticket
    reply: Reply[Fate]


@attrs.frozen(eq=False)
class Outlook:
    """How does each model that is known here look to a newcomer?"""

    reply: Reply[dict[str, ModelOutlook]]


@attrs.frozen
class ModelOutlook:
    """A model as the resolver sees it."""

    resident: bool
    idle: bool
    wait_s: float  # predicted, for a request of ordinary size
    load: float = 0.0  # what its server has to do, by the server's weight
    barred: Barring | None = None


Message = (
    Enter
    | EnterGang
    | Eligible
    | Leave
    | Ended
    | Ready
    | Gone
    | Failed
    | Loading
    | Pardoned
    | MakeRoom
    | Drain
    | Census
    | Remind
    | View
    | Predict
    | Outlook
)
