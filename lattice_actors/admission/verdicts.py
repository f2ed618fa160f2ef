"""What the admission policy is told about requests and models, and what it answers. Values only."""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable
from typing import Generic, TypeAlias, TypeVar, Union

import attrs

from lattice_actors.errors import QueueFacts

K = TypeVar("K", bound=Hashable)

KV_BLOCK_TOKENS = 256  # a batch's cache grows in steps of this (mlx-lm's cache step)


class Class(enum.Enum):
    """What a request is for. Interactive goes first; ageing keeps the others from starving."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"

    @classmethod
    def from_priority(cls, priority: int) -> Class:
        """Map a numeric priority: above 0 interactive, 0 normal, below 0 batch."""
        if priority > 0:
            return cls.INTERACTIVE
        return cls.BATCH if priority < 0 else cls.NORMAL


class Level(enum.IntEnum):
    """Where a waiting request stands after ageing; the lower number is served first."""

    OVERDUE = 0
    INTERACTIVE = 1
    NORMAL = 2
    BATCH = 3


class Phase(enum.Enum):
    """What the policy knows of a model (the moves are in `residence.MOVES`)."""

    COLD = "cold"  # not in memory, nobody asked for it
    WANTED = "wanted"  # `Want` given: the evictor makes room and loads
    READY = "ready"  # the only phase that grants
    DRAINING = "draining"  # no more grants; its streams run to their ends
    DRAINED = "drained"  # `Drained` given: the evictor may stop it


@attrs.frozen
class Facts:
    """What admission needs to know about one request. Times in seconds of one monotonic clock."""

    model: str
    key: str  # the principal; keys share a model fairly
    klass: Class
    priority: int  # higher first inside class and key
    arrived: float
    wait_until: float  # arrival + wait budget; inf: any time
    deadline: float  # the answer is worthless after it; inf: none
    cost_tokens: float  # what the key is charged: prompt estimate + max_tokens
    prompt_tokens: float  # estimate
    max_tokens: int  # ceiling of the answer
    gang: str | None = None  # the swarm that it entered with
    shorten: bool = False  # a shorter answer will do where the context ends

    @property
    def tokens(self) -> float:
        """How long its row of the cache may become."""
        return self.prompt_tokens + self.max_tokens

    @property
    def gives_up_at(self) -> float:
        """When waiting ends: the earlier of wait budget and deadline counts."""
        return min(self.wait_until, self.deadline)


@attrs.frozen
class Capacity:
    """How much a ready model can run at once."""

    slots: int  # streams; 0 = no cap
    kv_bytes_per_token: int  # 0: not known
    kv_budget_bytes: int  # 0: not limited
    context_tokens: int | None = None  # prompt + answer; None: not known
    group: str = ""  # models of one server share `group_slots`; "": it shares with nobody
    group_slots: int = 0  # streams of all models of the group; 0 = no cap
    weight: float = 1.0  # of the group's server among those that have the same model

    @property
    def longest_tokens(self) -> float:
        """The longest prompt and answer together that one stream can have; inf: not known."""
        longest = math.inf if self.context_tokens is None else float(self.context_tokens)
        if self.kv_budget_bytes and self.kv_bytes_per_token:
            blocks = self.kv_budget_bytes // (self.kv_bytes_per_token * KV_BLOCK_TOKENS)
            longest = min(longest, float(blocks * KV_BLOCK_TOKENS))
        return longest


@attrs.frozen
class Limits:
    """The bounds and clocks of admission. In a queue bound 0 means unlimited."""

    queue_max_per_model: int = 32  # waiting requests
    queue_max_total: int = 128  # waiting requests, all models
    streams_total: int = 0  # running streams, all models; 0 = no cap
    ageing_s: float = 5.0  # a waiting request climbs one level per this
    min_residence_s: float = 2.0  # a model that was loaded stays at least this long
    collate_s: float = 5.0  # a busy model is not swapped out for a wait shorter than this


@attrs.frozen
class Granted(Generic[K]):
    """The ticket runs now."""

    ticket: K
    queued_s: float


@attrs.frozen
class Refused(Generic[K]):
    """The ticket will not run."""

    ticket: K
    code: str
    message: str
    retry_after_s: float | None  # a prediction, >= 1; None: repeating it is vain
    facts: QueueFacts
    permanent: bool = False  # the request itself is at fault, however long it waits


@attrs.frozen
class Cancel(Generic[K]):
    """The ticket's client left while it ran: tell its backend; `ended` gives the slot back."""

    ticket: K


@attrs.frozen
class Want:
    """Somebody waits for a model that is not in memory."""

    model: str


@attrs.frozen
class Unwant:
    """Nobody waits for it any more, and no swap for it has begun. A load may run to its end."""

    model: str


@attrs.frozen
class Drained:
    """The last stream of a model that must go has ended."""

    model: str


Verdict: TypeAlias = Union[Granted[K], Refused[K], Cancel[K], Want, Unwant, Drained]  # noqa: UP007 (generic at run time)


@attrs.frozen
class Prediction:
    """Where a request would stand if it came now."""

    klass: Class
    position: int  # requests of its model that would be served before it
    wait_s: float


@attrs.frozen
class WaitingView(Generic[K]):
    """One waiting request, for showing."""

    ticket: K
    model: str
    key: str
    klass: Class
    level: Level  # the class after ageing
    position: int
    predicted_wait_s: float
    waited_s: float
    gang: str | None = None


@attrs.frozen
class ModelView:
    """One model, for showing."""

    phase: Phase
    running: int
    leaving: int  # cancelled, their backend has not yet said so
    waiting: int
    slots: int | None  # None: not known
    promised: int = 0  # places kept for tickets of swarms that may not be granted yet
    load: float = 0.0  # running and waiting, of its whole group, by weight


@attrs.frozen
class SwapView:
    """A model waiting for others to go."""

    model: str
    victims: tuple[str, ...]
    begun: bool
    due_in_s: float  # 0 when begun


@attrs.frozen
class QueueView(Generic[K]):
    """The whole queue at one moment, for showing. Waiting requests in the order of service."""

    waiting: tuple[WaitingView[K], ...]
    models: dict[str, ModelView]
    swaps: tuple[SwapView, ...]
    rebuilding: bool

    def of(self, klass: Class) -> tuple[WaitingView[K], ...]:
        """Return the waiting requests that came as *klass*."""
        return tuple(entry for entry in self.waiting if entry.klass is klass)
