"""What the metrics actor looks at, and all of it at one moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import QueueView
from lattice_actors.catalog.entry import CLOUD, Snapshot
from lattice_actors.remote.ledger import Ledger as Egress
from lattice_actors.remote.upstream_handle import UpstreamView
from lattice_actors.residency.evictor_handle import EvictorView
from lattice_actors.residency.model_handle import ModelView
from lattice_actors.supervisor import ActorView

from .patches import Document
from .timelines import LOCAL


@attrs.frozen
class Preferences:
    """What was set while running."""

    default_model: str | None = None
    swarm_presets: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, "tuple[str, ...]"])


@attrs.frozen
class Sources:
    """Where the metrics actor looks: at others' states, to show them and for nothing else."""

    actors: Callable[[], tuple[ActorView, ...]] = tuple
    models: Callable[[], tuple[ModelView, ...]] = tuple
    residents: Callable[[], EvictorView | None] = lambda: None
    queue: Callable[[], QueueView[Ticket] | None] = lambda: None
    snapshot: Callable[[], Snapshot | None] = lambda: None
    preferences: Callable[[], Preferences] = Preferences
    upstreams: Callable[[], tuple[UpstreamView, ...]] = tuple
    egress: Callable[[], Egress | None] = lambda: None
    cloud: Callable[[], Document | None] = lambda: None


@attrs.frozen
class Picture:
    """All that a state is made of, looked at once. *at_ms* added to Trio milliseconds is Unix."""

    now: float
    at_ms: float
    actors: tuple[ActorView, ...]
    models: tuple[ModelView, ...]
    residents: EvictorView | None
    queue: QueueView[Ticket] | None
    snapshot: Snapshot | None
    preferences: Preferences
    upstreams: tuple[UpstreamView, ...]
    egress: Egress | None
    cloud: Document | None

    @classmethod
    def of(cls, sources: Sources, now: float, at_ms: float) -> Picture:
        return cls(
            now,
            at_ms,
            sources.actors(),
            sources.models(),
            sources.residents(),
            sources.queue(),
            sources.snapshot(),
            sources.preferences(),
            sources.upstreams(),
            sources.egress(),
            sources.cloud(),
        )

    def backend(self, model: str) -> str:
        """Return where *model* runs: an engine here, an upstream's name, or the cloud."""
        entry = self.snapshot.get(model) if self.snapshot is not None else None
        if entry is not None:
            return entry.backend
        first = model.partition("/")[0]  # of an id elsewhere it is who has the model
        elsewhere = first == CLOUD or any(view.name == first for view in self.upstreams)
        return first if elsewhere else LOCAL

    def unix_ms(self, at: float) -> int | None:
        """Return a Trio time as Unix milliseconds; None for NaN."""
        return None if math.isnan(at) else round(self.at_ms + at * 1000)
