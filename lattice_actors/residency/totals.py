"""What all engines of a model did."""

from __future__ import annotations

import attrs

from lattice_actors.engine.process import EngineProcess


@attrs.define
class Totals:
    """What all engines of this incarnation did, those that have gone included."""

    restarts: int = 0
    steps: int = 0
    decoded_tokens: int = 0
    ghost_tokens: int = 0
    stray_frames: int = 0

    def add(self, engine: EngineProcess) -> None:
        """Count what *engine* has done so far."""
        self.steps += engine.steps
        self.decoded_tokens += engine.decoded_tokens
        self.ghost_tokens += engine.ghost_tokens
        self.stray_frames += engine.stray_frames
