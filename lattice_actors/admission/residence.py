"""One model as admission sees it: its phase, its streams, and when a swap may begin. Pure.

    COLD -> WANTED -> READY -> DRAINING -> DRAINED -> COLD

Besides: a preload goes COLD -> READY, a load nobody waits for or that fails WANTED -> COLD, and a
model whose memory is suddenly free goes to COLD from anywhere.
"""

from __future__ import annotations

from typing import Generic

import attrs

from .fairness import Line
from .verdicts import KV_BLOCK_TOKENS, Capacity, Facts, K, Phase

MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.COLD: frozenset({Phase.WANTED, Phase.READY}),
    Phase.WANTED: frozenset({Phase.READY, Phase.COLD}),
    Phase.READY: frozenset({Phase.DRAINING, Phase.COLD}),
    Phase.DRAINING: frozenset({Phase.DRAINED, Phase.COLD}),
    Phase.DRAINED: frozenset({Phase.COLD}),
}
ASSUMED_SLOTS = 8  # of a model that was never ready, for predictions only: the default setting


def kv_bytes(streams: int, longest_tokens: float, capacity: Capacity) -> float:
    """Memory of a batch: as many rows as streams, each as long as the longest, rounded up."""
    blocks = -(-longest_tokens // KV_BLOCK_TOKENS)
    return streams * blocks * KV_BLOCK_TOKENS * capacity.kv_bytes_per_token


@attrs.define(eq=False)
class Stream:
    """One granted ticket that has not ended."""

    facts: Facts
    since: float
    leaving: bool = False  # its client has gone, its backend has not yet said so
    adopted: bool = False  # learnt from a census: who asked has not been answered here


@attrs.define(eq=False)
class Residence(Generic[K]):
    """One model: who runs on it, who waits for it."""

    model: str
    line: Line[K]
    phase: Phase = Phase.COLD
    since: float = 0.0  # when the phase began
    capacity: Capacity | None = None  # the last one known; it outlives the residence
    streams: dict[K, Stream] = attrs.field(factory=dict[K, Stream])
    last_turn: int = 0  # of the grants over all models: models take turns
    load_begun: bool = False  # WANTED, and it can no longer be taken back
    held: dict[K, Facts] = attrs.field(factory=dict[K, Facts])  # of gangs, not yet eligible

    @property
    def places(self) -> int:
        """Taken places of the queue: whoever waits, and whom a place was promised."""
        return len(self.line) + len(self.held)

    def copy(self) -> Residence[K]:
        """For asking "what if": the copy grants, but must not be aged."""
        line, streams, held = self.line.copy(), dict(self.streams), dict(self.held)
        return attrs.evolve(self, line=line, streams=streams, held=held)

    def move(self, phase: Phase, now: float) -> None:
        """Go to *phase*. Raises ValueError for a move that is not in the table."""
        if phase not in MOVES[self.phase]:
            raise ValueError(f"{self.model}: {self.phase.name} cannot become {phase.name}")
        self.phase = phase
        self.since = now
        self.load_begun = False

    def fits(self, facts: Facts) -> bool:
        """Whether one more stream can run now. Leaving streams still hold slot and memory."""
        capacity = self.capacity
        if self.phase is not Phase.READY or capacity is None:
            return False
        if capacity.slots and len(self.streams) >= capacity.slots:
            return False
        if not capacity.kv_budget_bytes:
            return True
        rows = [facts.tokens, *(stream.facts.tokens for stream in self.streams.values())]
        # The prompt is an estimate; the engine refuses what is really longer than this.
        longest = min(max(rows), capacity.longest_tokens)
        return kv_bytes(len(self.streams) + 1, longest, capacity) <= capacity.kv_budget_bytes

    def never_fits(self, facts: Facts) -> str | None:
        """Say why the request can never run here, whatever its prompt, or None.

        The prompt is only estimated here. Its exact length is the engine's to refuse.
        """
        capacity = self.capacity
        if capacity is None:
            return None
        if facts.shorten or facts.max_tokens <= capacity.longest_tokens:
            return None
        context = capacity.context_tokens
        if context is not None and facts.max_tokens > context:
            return (
                f"max_tokens is {facts.max_tokens}, "
                f"but {self.model} has a context of {context} tokens"
            )
        return (
            f"max_tokens is {facts.max_tokens}, but the memory for the cache of {self.model} "
            f"holds {capacity.longest_tokens:.0f} tokens"
        )

    def slots_for(self, longest_tokens: float) -> int:
        """How many streams of such a length fit at once; 0: no cap."""
        if self.capacity is None:
            return ASSUMED_SLOTS
        row = kv_bytes(1, min(longest_tokens, self.capacity.longest_tokens), self.capacity)
        if not self.capacity.kv_budget_bytes or row <= 0:
            return self.capacity.slots
        by_memory = max(1, int(self.capacity.kv_budget_bytes // row))
        return min(self.capacity.slots or by_memory, by_memory)

    def __repr__(self) -> str:
        slots = self.capacity.slots if self.capacity else "?"
        running = f"{len(self.streams)}/{slots} running"
        return f"<Residence {self.model} {self.phase.value}, {running}, {len(self.line)} waiting>"


@attrs.define(eq=False)
class Swap:
    """To load `model`, `victims` must go. Once begun it is irrevocable."""

    model: str
    victims: tuple[str, ...]
    begun: bool = False
