"""An engine without a process, for the mock clock; the actors round it are the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Limits
from lattice_actors.capability.question import Rules
from lattice_actors.catalog.entry import Kind, ModelEntry, Snapshot
from lattice_actors.engine import frames
from lattice_actors.engine.news import (
    EngineGone,
    EngineNews,
    EngineReady,
    EngineRefusedLoad,
    FirstToken,
    StreamEnded,
)
from lattice_actors.engine.process import EngineProcess
from lattice_actors.generation import Chat, Delta, Finish, FinishReason, Job, Usage
from lattice_actors.lattice import Budget, Inventory, Lattice, open_lattice
from lattice_actors.metrics.metrics_handle import Shown
from lattice_actors.residency.engine_plan import EnginePlan
from lattice_actors.stream import TokenStream

STEP_S = 1.0
LOAD_S = 5.0
REAP_S = 0.5


@attrs.define(eq=False)
class FakeEngine(EngineProcess):
    """One token a second and stream. What it was told and what it did stand in *journal*."""

    journal: list[str] = attrs.field(factory=list[str])
    load_fault: EngineRefusedLoad | None = None
    crash_on: str = ""  # in a prompt: the engine dies at its first token
    _jobs: dict[int, tuple[Job, int]] = attrs.field(init=False, factory=dict)
    _cancelled: set[int] = attrs.field(init=False, factory=set)
    _crashed: str | None = attrs.field(init=False, default=None)

    def begin(self, rid: int, job: Job, stream: TokenStream, *, announce: bool = False) -> None:
        self.streams[rid] = stream
        self._jobs[rid] = (job, 0)
        if announce:
            self._announce.add(rid)

    def cancel(self, rid: int) -> None:
        self._cancelled.add(rid)

    def crash(self, reason: str = "killed") -> None:
        self._crashed = reason
        self._scope.cancel(reason=reason)

    async def run(self) -> None:
        self.journal.append(f"start {self.name}")
        with self._scope:
            await trio.sleep(LOAD_S)
            if self.load_fault is not None:
                self.tell(self.load_fault)
                self._crashed = "load failed"
            else:
                self.tell(EngineReady(READY))
                await self._steps()
        with trio.CancelScope(shield=True):
            await trio.sleep(REAP_S)
        self.journal.append(f"reaped {self.name}")
        self.tell(EngineGone(self._crashed or self._reason, -9, self._crashed is None))

    async def _steps(self) -> None:
        while self._crashed is None:
            await trio.sleep(STEP_S)
            self.steps += 1
            live = {rid: job for rid, (job, _) in self._jobs.items() if rid not in self._cancelled}
            if self.crash_on and any(self.crash_on in str(job.prompt) for job in live.values()):
                self._crashed = "poisoned"  # nobody gets anything of this step
                return
            for rid in list(self._jobs):
                self._advance(rid)

    def _advance(self, rid: int) -> None:
        job, done = self._jobs[rid]
        stream = self.streams[rid]
        if rid in self._cancelled:
            self._finish(rid, FinishReason.CANCELLED, done)
            return
        stream.push(Delta("x"))
        if rid in self._announce:
            self._announce.discard(rid)
            self.tell(FirstToken(rid))
        self._jobs[rid] = (job, done + 1)
        if done + 1 == job.max_tokens:
            self._finish(rid, FinishReason.LENGTH, done + 1)

    def _finish(self, rid: int, reason: FinishReason, tokens: int) -> None:
        del self._jobs[rid]
        usage = Usage(3, tokens)
        self.streams.pop(rid).finish(Finish(reason, usage))
        self.tell(StreamEnded(rid))


READY = frames.Ready(8192, 1000, 0, 1000, LOAD_S, STEP_S, 1000.0)


@attrs.frozen
class FakePlan(EnginePlan):
    """Engines that are fakes; the newest of each model can be reached."""

    journal: list[str] = attrs.field(factory=list[str])
    engines: dict[str, FakeEngine] = attrs.field(factory=dict[str, FakeEngine])
    load_faults: dict[str, EngineRefusedLoad] = attrs.field(factory=dict)
    crash_on: str = ""
    kernel_kills: Callable[[], int] = lambda: 0

    def engine(self, entry: ModelEntry, tell: Callable[[EngineNews], None]) -> EngineProcess:
        load = frames.Load(str(entry.path), 512, 8, 0.0)
        engine = FakeEngine(entry.id, "fake", load, {}, tell, 60.0, self.journal)
        engine.load_fault = self.load_faults.get(entry.id)
        engine.crash_on = self.crash_on
        self.engines[entry.id] = engine
        return engine


@attrs.define
class House:
    """A running lattice of fakes, and how to ask it."""

    lattice: Lattice
    plan: FakePlan
    entries: tuple[ModelEntry, ...]

    async def ask(
        self,
        model: str,
        tokens: int = 3,
        *,
        prompt: str = "hello",
        patience_s: float = 600.0,
        key: str = "anonymous",
    ) -> tuple[str, float]:
        """Return the text and the seconds queued; raises what the caller would see."""
        now = trio.current_time()
        job = Job(Chat(({"role": "user", "content": prompt},)), tokens)
        ticket = Ticket("r", model, job, len(prompt), now, now + patience_s, key=key)
        text: list[str] = []
        async with self.lattice.admission.grant(ticket) as queued_s:
            while True:
                for event in await ticket.stream.receive():
                    if isinstance(event, Finish):
                        return "".join(text), queued_s
                    text.append(event.text)

    async def running(self) -> dict[str, int]:
        """Streams by model, as admission counts them."""
        view = await self.lattice.admission.view()
        return {model: seen.running + seen.leaving for model, seen in view.models.items()}

    @property
    def starts(self) -> list[str]:
        return [line for line in self.plan.journal if line.startswith("start")]


@asynccontextmanager
async def open_house(
    *,
    max_models: int = 2,
    limits: Limits | None = None,
    plan: FakePlan | None = None,
    idle_ttl_s: float = 0.0,
    memory_bytes: int = 0,
    shown: Shown | None = None,
    kind: Kind = Kind.CHAT,
) -> AsyncIterator[House]:
    """Open a lattice with models a, b and c, each of 100 bytes."""
    entries = tuple(ModelEntry(name, kind, path=Path(name), weights_bytes=100) for name in "abc")
    plan = plan or FakePlan()
    inventory = Inventory(lambda: Snapshot(entries), Rules())
    budget = Budget(memory_bytes, max_models, idle_ttl_s)
    limits = limits or Limits(min_residence_s=20, collate_s=60, ageing_s=100)
    async with open_lattice(inventory, budget, limits, plan, shown) as lattice:
        await lattice.catalog.snapshot()
        yield House(lattice, plan, entries)
