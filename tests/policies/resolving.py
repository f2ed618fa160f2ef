"""Questions for the resolver, of every kind, and short ways to ask one."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lattice_actors.capability.hints import Hints
from lattice_actors.capability.profiles import Profile
from lattice_actors.capability.resolver import (
    Ask,
    Candidate,
    Route,
    Rules,
    resolve,
)
from lattice_actors.capability.roles import BUILT_IN
from lattice_actors.catalog.entry import Kind

WORDS = ["qwen", "coder", "smol", "3b", "13b", "vl", "phi"]
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("-".join)
SPECS = (
    st.none()
    | st.sampled_from(["auto", "role:fast", "role:coder", "role:none", "*", "qwen*3b", "nope"])
    | NAMES
    | st.lists(NAMES | st.sampled_from(["role:fast", "auto", "sm*"])).map(",".join)
)
PROFILES = st.builds(
    Profile,
    context_window=st.sampled_from([4096, 131_072]),
    supports_vision=st.booleans(),
    latency_tier=st.sampled_from(["fast", "slow"]),
    memory_gb_estimate=st.sampled_from([1.0, 40.0]),
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        id=NAMES,
        profile=PROFILES,
        backend=st.sampled_from(["mlx", "studio"]),
        kind=st.sampled_from([Kind.CHAT, Kind.CHAT, Kind.CHAT, Kind.EMBEDDING]),
        locality=st.sampled_from(["local", "remote", "cloud"]),
        resident=st.booleans(),
        idle=st.booleans(),
        predicted_wait_s=st.floats(0, 9),
        unavailable=st.sampled_from([None, None, None, "quarantined"]),
        builtin=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: (one.id, one.backend),
)
ROLES = st.dictionaries(st.sampled_from(["fast", "coder", "default"]), st.lists(NAMES, max_size=3))
RULES = st.builds(
    Rules,
    roles=ROLES,
    default_model=st.none() | NAMES,
    runtime_default=st.none() | NAMES,
    force_default=st.booleans(),
    on_miss=st.sampled_from(["fallback", "error"]),
)
HINTS = st.builds(
    Hints,
    needs_vision=st.booleans(),
    min_context_window=st.none() | st.just(20_000),
    prefers_fast=st.booleans(),
)
ASKS = st.builds(
    Ask,
    spec=SPECS,
    hints=HINTS,
    bound=st.sampled_from(["any", "any", "local-only", "prefer-local"]),
    sticky=st.none() | NAMES,
    allow_fallback=st.booleans(),
)

ABLE = Candidate("able", Profile(supports_vision=True))  # within every limit there is


def allowed(ask: Ask, one: Candidate) -> bool:
    """The hard limits, written a second time."""
    if one.kind is not Kind.CHAT or (ask.bound == "local-only" and one.locality != "local"):
        return False
    if ask.hints.needs_vision and not one.profile.supports_vision:
        return False
    return one.profile.context_window >= (ask.hints.min_context_window or 0)


def models(*ids: str, **same: Any) -> list[Candidate]:  # noqa: ANN401 - fields of Candidate
    return [Candidate(name, **same) for name in ids]


def route(
    spec: str | None, candidates: list[Candidate], rules: Rules | None = None, **ask: object
) -> Route:
    found = resolve(Ask(spec, **ask), candidates, rules or Rules(BUILT_IN))  # type: ignore[arg-type]
    assert isinstance(found, Route), found
    return found
