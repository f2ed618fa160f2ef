"""What the metrics actor is told. Values only.

Times are Trio seconds, taken by the teller. A request is known by its id and its arrival, since
clients choose ids and may use one twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import attrs

RequestKey: TypeAlias = tuple[str, float]  # x-request-id, arrival


class Progress(Protocol):
    """How far reading the prompt has come (`generation.Prefill`)."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def cached(self) -> int | None: ...


class Used(Protocol):
    """What an answer took (`generation.Usage`)."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...


class Streamed(Protocol):
    """The counters of an answer's stream (`TokenStream`)."""

    @property
    def first_delta_at(self) -> float: ...
    @property
    def tokens(self) -> int: ...
    @property
    def prefill(self) -> Progress | None: ...
    @property
    def usage(self) -> Used | None: ...


class Answer(Protocol):
    """One ticket of a request. It is looked at while it runs, so its phases need no telling."""

    @property
    def granted_at(self) -> float: ...  # NaN: not yet
    @property
    def ready_at(self) -> float: ...  # NaN: not yet; since when its model was ready
    @property
    def stream(self) -> Streamed: ...


@attrs.frozen
class Part:
    """What an answer is in the swarm that it is for."""

    request_id: str  # of the request that asks the swarm
    session: str
    branch: int | None  # None: a judge's
    kind: str  # `route_kind` of events: "swarm_vote", "swarm_debate_round_2"


@attrs.frozen
class Arrived:
    """A request for answers has come, or a swarm asks for one of its own.

    *preview*: only where prompts are to be kept.
    """

    key: RequestKey
    principal: str
    spec: str | None
    stream: bool
    preview: Mapping[str, object] | None = None
    part: Part | None = None


@attrs.frozen
class Resolved:
    """Who answers it; told again where a model turned out to be broken."""

    key: RequestKey
    at: float
    model: str
    backend: str
    klass: str
    resolution: str | None
    answers: Sequence[Answer]


@attrs.frozen
class Over:
    """A request has its answer, was refused, or its client has left.

    *outcome* is "ok", "client_left" or the code of an error; *message* goes with a code. That of
    a swarm's answer is "stopped" where the swarm ended it: it lost, or nobody wanted it any more.
    """

    key: RequestKey
    at: float
    route: str  # method and path
    status: int | None  # None: the client left before there was one
    outcome: str
    principal: str
    message: str = ""
    finish_reason: str | None = None
    strategy: str | None = None  # of the swarm that was asked for

    @property
    def refused(self) -> bool:
        """There is no answer, and it is nobody's wish."""
        return self.outcome not in ("ok", "client_left", "stopped")


@attrs.frozen
class Stepped:
    """One step of an engine: a `StepReport`."""

    model: str
    decoded: int  # tokens
    prefilled: int  # prompt tokens
    took_s: float
    gap_s: float  # since the step before that had tokens
    gaps: int  # streams that waited for it: one inter-token time each


@attrs.frozen
class Loaded:
    """A model is ready."""

    model: str
    load_s: float  # the start of its process included


@attrs.frozen
class Stopped:
    """A model was told to leave memory."""

    model: str
    reason: str  # "evicted", "unloaded", "idle"


@attrs.frozen
class Failed:
    """A load failed, or an engine died: *code* says which."""

    model: str
    at: float
    code: str
    message: str


@attrs.frozen
class SwarmBegan:
    """A swarm session has begun."""

    session: str
    at: float
    strategy: str
    branches: Mapping[int, str] = attrs.field(factory=dict[int, str])  # model or spec, if known
    request_id: str | None = None


@attrs.frozen
class SwarmBranchBegan:
    """A branch waits for its turn to speak."""

    session: str
    branch: int
    model: str
    stage: str = ""


@attrs.frozen
class SwarmJudgeAsked:
    """A judge has the answers before it; told again with each of its questions."""

    session: str
    model: str


@attrs.frozen
class SwarmText:
    """A piece of one branch, or of the answer that the judge writes."""

    session: str
    branch: int | None  # None: the judge
    text: str  # empty: a piece of reasoning
    model: str = ""
    stage: str = ""


@attrs.frozen
class SwarmBranchOver:
    """A branch has ended; *error* is None where it went well."""

    session: str
    branch: int
    model: str
    tokens: int
    error: str | None = None
    stage: str = ""


@attrs.frozen
class SwarmVerdict:
    """Who won, and why. *winner* None: the judge wrote the answer itself."""

    session: str
    winner: int | None
    rationale: str
    votes: Mapping[int, float] = attrs.field(factory=dict[int, float])  # shares, by branch
    judge: str | None = None


@attrs.frozen
class SwarmEnded:
    """The session is over; *outcome* is "ok", "client_left" or the code of an error."""

    session: str
    at: float
    outcome: str


SwarmNews: TypeAlias = (
    SwarmBegan
    | SwarmBranchBegan
    | SwarmJudgeAsked
    | SwarmText
    | SwarmBranchOver
    | SwarmVerdict
    | SwarmEnded
)
News: TypeAlias = Arrived | Resolved | Over | Stepped | Loaded | Stopped | Failed | SwarmNews
