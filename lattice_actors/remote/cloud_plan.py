"""What an operator says of the cloud. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from lattice_actors.catalog.entry import CLOUD, ModelEntry

from .anthropic_wire import ThinkingStyle
from .plan import UpstreamPlan
from .spend import Price


@attrs.frozen
class CloudPlan:
    """Anthropic's API: which models may be asked, how, and for how much money a day."""

    server: UpstreamPlan  # its `models` are exact names, the configured one first
    model: str | None = None  # what the spec `anthropic` means
    by_name: frozenset[str] = frozenset()  # models whose bare names (`claude-...`) mean them
    version: str = "2023-06-01"  # of the API
    thinking: ThinkingStyle = "adaptive"
    context_tokens: int = 200_000
    prices: Mapping[str, Price] = attrs.field(factory=dict[str, Price])
    cap_micros: int | None = None  # a day, in micro-dollars; None: no cap
    spend_folder: Path | None = None  # where it is written down; None: in memory alone

    def entries(self) -> tuple[ModelEntry, ...]:
        """Return the catalog's entries. Without a `name` only the whole id means a model."""
        return tuple(
            ModelEntry(
                id=self.server.id_of(model),
                backend=CLOUD,
                name=model if model in self.by_name else "",
                context_tokens=self.context_tokens,
                has_vision=True,
            )
            for model in self.server.models
        )
