"""What the catalog knows at one moment, for the resolver, and between two scans. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from lattice_actors.capability.profiles import Profile
from lattice_actors.capability.question import Candidate, Locality, Rules

from .entry import CLOUD, LOCAL, ModelEntry, Snapshot, Unusable

# Backends that are not named here are other servers.
_LOCALITY: Mapping[str, Locality] = {LOCAL: "local", CLOUD: "cloud"}


@attrs.frozen
class Diff:
    """What a scan changed, as sorted ids."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


@attrs.frozen
class Runtime:
    """What changes from moment to moment about one model; the caller of the resolver knows it."""

    resident: bool = False
    idle: bool = True
    predicted_wait_s: float = 0.0
    unavailable: str | None = None
    retry_after_s: float | None = None
    load: float = 0.0


@attrs.frozen
class World:
    """Everything the resolver needs beside `Runtime`, taken at one moment."""

    snapshot: Snapshot
    rules: Rules
    profiles: Mapping[str, Profile]  # by model id
    sticky: str | None = None  # the model that answered the conversation asked about

    def candidates(self, runtime: Callable[[ModelEntry], Runtime]) -> tuple[Candidate, ...]:
        """Return the inventory as the resolver wants it."""
        return tuple(
            Candidate(
                id=entry.id,
                profile=self.profiles[entry.id],
                backend=entry.backend,
                kind=entry.kind,
                locality=_LOCALITY.get(entry.backend, "remote"),
                builtin=entry.builtin,
                name=entry.name,
                standing=entry.standing,
                **attrs.asdict(runtime(entry)),
            )
            for entry in self.snapshot.models
        )


def merged(here: Snapshot, remote: Mapping[str, Sequence[ModelEntry]]) -> Snapshot:
    """Return the inventory of all: this machine's models, the upstreams', the built-in one.

    *remote* is by upstream. What begins with the name of one is its own: a model directory of
    such a name cannot be told from its models, and is unusable.
    """
    hidden = {entry for entry in here.models if entry.id.partition("/")[0] in remote}
    own = [entry for entry in here.models if not entry.builtin and entry not in hidden]
    builtin = [entry for entry in here.models if entry.builtin and entry not in hidden]
    theirs = [entry for models in remote.values() for entry in models]
    unusable = [
        Unusable(entry.id, entry.path or Path(), "an upstream has the name it begins with")
        for entry in here.models
        if entry in hidden
    ]
    return attrs.evolve(
        here, models=(*own, *theirs, *builtin), unusable=(*here.unusable, *unusable)
    )


def difference(before: Snapshot, after: Snapshot) -> Diff:
    """Return which ids came, went and stayed."""
    old = {entry.id for entry in before.models}
    new = {entry.id for entry in after.models}
    return Diff(tuple(sorted(new - old)), tuple(sorted(old - new)), tuple(sorted(new & old)))
