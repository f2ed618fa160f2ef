"""What a swarm is asked to do, checked and complete. Values only."""

from __future__ import annotations

import enum

import attrs

from lattice_actors.generation import JsonObject


class Strategy(enum.Enum):
    """How one answer is made of several; `strategies.py` has what each decides."""

    BEST_OF_N = "best-of-n"  # a judge picks one
    FIRST_SUCCESS = "first-success"  # in time; the others are cancelled
    LONGEST = "longest"
    FANOUT = "fanout"  # all of them
    MAJORITY = "majority"  # the short answer that most gave
    SYNTHESIS = "synthesis"  # a judge writes one answer from all


@attrs.frozen
class Manner:
    """How a completion is made. None: as the level above says, at last the model's profile."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None  # of the first sample; the next ones count up


@attrs.frozen
class Agent:
    """One entry of `models`: who is asked, and what is different for it."""

    spec: str  # as sent: a model spec; where `plain`, also a token or "preset:<name>" (roster.py)
    plain: bool = True  # sent as a string: tokens expand, and equal ones collapse
    samples: int = 1
    system: str | None = None  # replaces the system messages
    messages: tuple[JsonObject, ...] | None = None  # replace the request's
    manner: Manner = Manner()
    timeout_s: float | None = None  # of this branch, from the start of the swarm (or its round)


@attrs.frozen
class Ensemble:
    """Ask all agents the same; fan-out and vote."""

    agents: tuple[Agent, ...]
    messages: tuple[JsonObject, ...]
    strategy: Strategy
    judge: str = "role:reasoner"  # for best-of-n and synthesis
    judge_system: str | None = None
    rationale: bool = False  # let the judge say why, after its vote
    quorum: int | None = None  # so many successes are enough: the others are cancelled
    max_parallel: int | None = None  # None: admission bounds it
    timeout_s: float | None = None  # of all branches; late ones are cancelled
    manner: Manner = Manner()


@attrs.frozen
class Step:
    """One step of a pipeline. ``{{name}}`` and ``{{previous}}`` stand for earlier outputs."""

    name: str
    spec: str = "auto"
    system: str | None = None  # replaces the system messages of the request
    user: str | None = None  # all the step sees; None: the messages of the request
    manner: Manner = Manner()


@attrs.frozen
class Pipeline:
    """One step after the other."""

    steps: tuple[Step, ...]
    messages: tuple[JsonObject, ...]
    manner: Manner = Manner()
    timeout_s: float | None = None


@attrs.frozen
class Debate:
    """Agents answer, read each other, answer again; a judge writes the conclusion."""

    agents: tuple[Agent, ...]
    messages: tuple[JsonObject, ...]
    rounds: int = 2
    judge: str = "role:reasoner"
    judge_system: str | None = None
    max_parallel: int | None = None
    timeout_s: float | None = None
    manner: Manner = Manner()


SwarmAsk = Ensemble | Pipeline | Debate

MAX_ROUNDS = 5  # of a debate
DEFAULT_MAX_BRANCHES = 16


@attrs.frozen
class Limits:
    """What one swarm may ask for."""

    max_branches: int = DEFAULT_MAX_BRANCHES  # agents of one round, after expansion
    auto_max: int = 3  # models that one token such as "auto" stands for; 0: no limit
