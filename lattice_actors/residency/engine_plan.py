"""How this machine runs engines."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from lattice_actors.catalog.entry import Kind, ModelEntry
from lattice_actors.engine import frames
from lattice_actors.engine.news import EngineNews
from lattice_actors.engine.process import EngineProcess

from .oom import kernel_kills

UNBOUNDED_STREAMS = 10_000  # the engine's own bound, where the settings have none


@attrs.frozen
class EnginePlan:
    """How this machine runs engines; the same for all models."""

    module: str = "lattice_actors.engine.worker"
    embedding_module: str = "lattice_actors.engine.embedding_worker"
    environ: dict[str, str] = attrs.field(factory=dict[str, str])
    prefill_step_tokens: int = 512
    target_step_ms: float = 0.0
    max_streams: int = 8  # 0: no cap
    load_silence_s: float = 60.0
    kernel_kills: Callable[[], int] = kernel_kills  # for want of memory, so far
    prefix_cache_bytes: int = 0  # of each engine; 0: no prefix cache

    def engine(self, entry: ModelEntry, tell: Callable[[EngineNews], None]) -> EngineProcess:
        """Return an engine for *entry*, to be run."""
        streams = self.max_streams or UNBOUNDED_STREAMS
        load = frames.Load(
            str(entry.path),
            self.prefill_step_tokens,
            streams,
            self.target_step_ms,
            self.prefix_cache_bytes,
        )
        module = self.embedding_module if entry.kind is Kind.EMBEDDING else self.module
        return EngineProcess(entry.id, module, load, self.environ, tell, self.load_silence_s)
