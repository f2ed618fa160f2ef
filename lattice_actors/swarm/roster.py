"""Who takes part: what the entries of `models` stand for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from lattice_actors.errors import BadRequest

from .asks import Agent, Limits, Manner
from .failure import NoModels

LOADED_TOKENS = frozenset({"auto", "loaded", "*", "all", "all-loaded"})
AVAILABLE_TOKENS = frozenset({"available", "configured", "all-available"})
PRESET = "preset:"

Presets = Mapping[str, Sequence[str]]


@attrs.frozen
class Member:
    """One who is asked: an agent that stands for one model, and how exactly it is asked."""

    agent: Agent  # its spec means one model
    manner: Manner  # complete as far as the request says; the seed is this sample's own
    sample: int = 0  # which of those with the same spec


def expand(
    agents: Sequence[Agent],
    manner: Manner,
    limits: Limits,
    *,
    loaded: Sequence[str],
    available: Sequence[str],
    presets: Presets,
) -> tuple[Member, ...]:
    """Return who is asked, in order. *loaded* and *available* are ids of models that chat.

    Raises:
        BadRequest: an unknown preset, or more branches than the limit; `param` is ``models``.
        NoModels: nothing is left.
    """
    loaded = loaded or available
    single = [
        attrs.evolve(agent, spec=spec)
        for agent in agents
        for spec in _specs(agent, limits, loaded, available, presets)
    ]
    distinct = _without_repeated(single)
    count = sum(agent.samples for agent in distinct)
    if count > limits.max_branches:
        raise BadRequest(
            f"models stands for {count} branches, and a swarm has at most {limits.max_branches}",
            param="models",
            code="too_many_branches",
        )
    if not distinct:
        raise NoModels("there is no model that models could stand for now")
    return _members(distinct, manner)


def merged(own: Manner, general: Manner) -> Manner:
    """Return *own*, and *general* where it says nothing."""
    said = attrs.asdict(own, filter=lambda _, value: value is not None)
    return attrs.evolve(general, **said)


def is_token(spec: str) -> bool:
    """Whether a plain entry stands for models that it does not name."""
    folded = spec.strip().casefold()
    return folded in LOADED_TOKENS | AVAILABLE_TOKENS or folded.startswith(PRESET)


def _specs(
    agent: Agent,
    limits: Limits,
    loaded: Sequence[str],
    available: Sequence[str],
    presets: Presets,
) -> Sequence[str]:
    text = agent.spec.strip()
    if not agent.plain:
        return (text,)
    if not text.casefold().startswith(PRESET):
        return _models(text, limits, loaded, available)
    name = text[len(PRESET) :].strip()
    known = {key.casefold(): specs for key, specs in presets.items()}
    if name.casefold() not in known:
        there = ", ".join(sorted(presets)) or "none"
        raise BadRequest(
            f"there is no preset {name[:100]!r}; there are: {there}",
            param="models",
            code="unknown_preset",
        )
    named = [spec.strip() for spec in known[name.casefold()]]
    return [model for spec in named for model in _models(spec, limits, loaded, available)]


def _models(
    text: str, limits: Limits, loaded: Sequence[str], available: Sequence[str]
) -> Sequence[str]:
    most = limits.auto_max or None
    if text.casefold() in LOADED_TOKENS:
        return loaded[:most]
    if text.casefold() in AVAILABLE_TOKENS:
        return available[:most]
    return (text,)


def _without_repeated(agents: Sequence[Agent]) -> list[Agent]:
    seen: set[str] = set()
    kept: list[Agent] = []
    for agent in agents:
        if agent.plain and agent.spec in seen:
            continue
        if agent.plain:
            seen.add(agent.spec)
        kept.append(agent)
    return kept


def _members(agents: Sequence[Agent], manner: Manner) -> tuple[Member, ...]:
    """Number the samples. Those that share the request's seed count up over all of one spec."""
    members: list[Member] = []
    asked = Counter[str]()
    for agent in agents:
        whole = merged(agent.manner, manner)
        for number in range(agent.samples):
            spec = agent.spec.casefold()
            sample = asked[spec]
            asked[spec] += 1
            step = number if agent.manner.seed is not None else sample
            seed = None if whole.seed is None else whole.seed + step
            members.append(Member(agent, attrs.evolve(whole, seed=seed), sample))
    return tuple(members)
