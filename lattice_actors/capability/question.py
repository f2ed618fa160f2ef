"""What the resolver is asked, about whom, under which rules, and what it answers. Values only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

from lattice_actors.catalog.entry import LOCAL, Kind, Standing

from .aliases import Aliases
from .hints import Hints
from .profiles import Profile
from .spec import BUILT_IN_PLACEHOLDERS

Locality: TypeAlias = Literal["local", "remote", "cloud"]
Bound: TypeAlias = Literal["local-only", "prefer-local", "any"]


@attrs.frozen
class Candidate:
    """One model at one place, at the moment of the question."""

    id: str
    profile: Profile = attrs.field(factory=Profile)
    backend: str = LOCAL
    kind: Kind = Kind.CHAT
    locality: Locality = "local"
    resident: bool = False
    idle: bool = True
    predicted_wait_s: float = 0.0
    unavailable: str | None = None  # why it cannot answer now: quarantined, broken, ejected
    retry_after_s: float | None = None  # when `unavailable` may be over
    builtin: bool = False  # comes with the project: after all models of the user
    name: str = ""  # without the server it is on: replicas share it; "": the same as the id
    standing: Standing = Standing.OPEN
    load: float = 0.0  # what its server has to do


@attrs.frozen
class Rules:
    """How this server resolves, from its settings and its dashboard."""

    roles: Mapping[str, Sequence[str]] = attrs.field(factory=dict[str, Sequence[str]])
    default_model: str | None = None  # setting DEFAULT_MODEL
    runtime_default: str | None = None  # set while running; before DEFAULT_MODEL
    force_default: bool = False  # an active default replaces every explicit spec
    on_miss: Literal["fallback", "error"] = "fallback"
    # What "preset:<name>" stands for in the list of a swarm's models; set while running.
    presets: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, "tuple[str, ...]"])
    placeholders: Collection[str] = BUILT_IN_PLACEHOLDERS
    cloud_model: str | None = None  # the id that the spec `anthropic` means
    aliases: Aliases = ()  # what whole specs stand for


@attrs.frozen
class Ask:
    """What one request wants."""

    spec: str | None = None  # the `model` field
    hints: Hints = attrs.field(factory=Hints)
    bound: Bound = "any"
    sticky: str | None = None  # the model that answered this conversation before
    allow_fallback: bool = True  # False inside swarms
    avoid: frozenset[str] = frozenset()  # ids that have just failed this request
    escalate: str | None = None  # why the cloud goes first, where no model was named
    turn: int = 0  # counts requests, so that replicas with nothing to do take turns
    kind: Kind = Kind.CHAT


@attrs.frozen
class Considered:
    """One candidate and its fate: ``chosen``, or why it lost."""

    id: str
    backend: str
    reason: str


@attrs.frozen
class Route:
    """The answer. `resolution` is the text of `X-Model-Resolution`, not yet encoded, or None."""

    model: str
    backend: str
    resolution: str | None = None
    alternatives: tuple[str, ...] = ()  # who else the caller named, best first
    considered: tuple[Considered, ...] = ()


@attrs.frozen
class NoRoute:
    """No model may answer. The message is for the caller and lists what there is."""

    message: str
    code: str  # model_not_found, no_model_for_constraints, model_unavailable
    param: str = "model"  # the field of the request to blame
    constraints: tuple[str, ...] = ()  # with no_model_for_constraints: which of them
    retry_after_s: float | None = None  # with model_unavailable, where it is known
    considered: tuple[Considered, ...] = ()
