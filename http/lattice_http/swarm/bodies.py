"""The forms of the swarm routes' bodies, and the ``swarm`` object of a chat."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from lattice_actors.swarm.asks import MAX_ROUNDS
from lattice_http.openai.bodies import INT64_MAX, INT64_MIN
from lattice_http.openai.request import MAX_MODEL_CHARS, ModelBody, TokenLimit

MAX_TIMEOUT_S = 3600
MAX_ENTRIES = 256  # of `models`, before equal ones collapse
MAX_STEPS = 16
MAX_NAME_CHARS = 64

SpecText = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)]
Seconds = Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)]
Count = Annotated[int, Meta(ge=1, le=2**31)]


class MannerBody(msgspec.Struct, frozen=True, kw_only=True):
    """How one agent or one step answers; absent: as the request says."""

    max_tokens: TokenLimit | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)] | None = None


class AgentBody(MannerBody, frozen=True, kw_only=True):
    """An entry of ``models`` that is more than a name."""

    model: SpecText
    samples: Count | None = None
    system: str | None = None
    messages: Raw = Raw()
    timeout: Seconds | None = None


Models = str | Annotated[list[SpecText | AgentBody], Meta(min_length=1, max_length=MAX_ENTRIES)]


class StepBody(MannerBody, frozen=True, kw_only=True):
    """An entry of ``steps``."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)] | None = None
    model: SpecText | None = None
    system: str | None = None
    user: str | None = None


class SwarmBody(ModelBody, frozen=True, kw_only=True):
    """What all routes take, beside what they share with a chat."""

    messages: Raw
    max_completion_tokens: TokenLimit | None = None
    timeout: Seconds | None = None


class FanoutBody(SwarmBody, frozen=True, kw_only=True):
    """``POST /swarm/fanout``."""

    models: Models
    max_parallel: Count | None = None
    quorum: Count | None = None


class VoteBody(FanoutBody, frozen=True, kw_only=True):
    """``POST /swarm/vote``."""

    strategy: str | None = None
    judge: SpecText | None = None
    judge_system: str | None = None
    rationale: bool | None = None


class PipelineBody(SwarmBody, frozen=True, kw_only=True):
    """``POST /swarm/pipeline``."""

    steps: Annotated[list[StepBody], Meta(min_length=1, max_length=MAX_STEPS)]


class DebateBody(SwarmBody, frozen=True, kw_only=True):
    """``POST /swarm/debate``."""

    models: Models | None = None
    rounds: Annotated[int, Meta(ge=1, le=MAX_ROUNDS)] | None = None
    judge: SpecText | None = None
    judge_system: str | None = None
    max_parallel: Count | None = None


class SwarmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The ``swarm`` object of a chat."""

    models: Models | None = None
    strategy: str | None = None
    judge: SpecText | None = None
    judge_system: str | None = None
    rationale: bool | None = None
    max_parallel: Count | None = None
    quorum: Count | None = None
    timeout: Seconds | None = None
    events: bool | None = None  # the stream also tells what the branches say
