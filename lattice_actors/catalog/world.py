"""What the catalog knows at one moment, as values: for the resolver, and between two scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from lattice_actors.capability.profiles import Profile
from lattice_actors.capability.question import Candidate, Locality, Rules

from .entry import ModelEntry, Snapshot

# Backends that are not named here are other servers.
_LOCALITY: Mapping[str, Locality] = {"mlx": "local", "anthropic": "cloud"}


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
                **attrs.asdict(runtime(entry)),
            )
            for entry in self.snapshot.models
        )


def difference(before: Snapshot, after: Snapshot) -> Diff:
    """Return which ids came, went and stayed."""
    old = {entry.id for entry in before.models}
    new = {entry.id for entry in after.models}
    return Diff(tuple(sorted(new - old)), tuple(sorted(old - new)), tuple(sorted(new & old)))
