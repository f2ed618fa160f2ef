"""The model actor: owns one model's engine process, its restarts and its streams.

It outlives its engine. `states.py` draws its life. A crash of the engine is normal work here:
answers that nobody has read anything of begin again, each alone in the engine, so that a
request which kills it is found out; the others end with `model_crashed`.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol, assert_never

import attrs
import structlog
import trio

from lattice_actors.admission.admission import AdmissionHandle
from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Capacity
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.engine import frames
from lattice_actors.engine.process import (
    EngineGone,
    EngineNews,
    EngineProcess,
    EngineReady,
    EngineRefusedLoad,
    FirstToken,
    StreamEnded,
)
from lattice_actors.errors import (
    LatticeError,
    ModelCrashed,
    ModelQuarantined,
    RequestCrashesEngine,
)
from lattice_actors.generation import Job
from lattice_actors.mailbox import Mailbox

from .lru import Stage
from .restart import Barred, Quarantine, Record, Restart
from .states import ModelState, move

MOST_RETRIES = 2  # of an answer that was in the engine when it crashed
POISON_S = 600.0  # how long a request that crashes engines is remembered
UNBOUNDED_STREAMS = 10_000  # the engine's own bound, where the settings have none
POISON_MOST = 1000  # and how many of them

log = structlog.get_logger(__name__)


@attrs.frozen
class EnginePlan:
    """How this machine runs engines; the same for all models."""

    module: str = "lattice_actors.engine.worker"
    environ: dict[str, str] = attrs.field(factory=dict[str, str])
    prefill_step_tokens: int = 512
    target_step_ms: float = 0.0
    max_streams: int = 8  # 0: no cap
    load_silence_s: float = 60.0

    def engine(self, entry: ModelEntry, tell: Callable[[EngineNews], None]) -> EngineProcess:
        """Return an engine for *entry*, to be run."""
        streams = self.max_streams or UNBOUNDED_STREAMS
        load = frames.Load(str(entry.path), self.prefill_step_tokens, streams, self.target_step_ms)
        return EngineProcess(entry.id, self.module, load, self.environ, tell, self.load_silence_s)


class Evictor(Protocol):
    """What a model actor tells the evictor."""

    def loaded(self, model: str, resident_bytes: int) -> None:
        """It is READY; the process takes so many bytes (0: not measured)."""

    def gone(self, model: str, barred: Barred | None) -> None:
        """It takes no memory any more; *barred*: because it failed, and why."""

    def report(self, model: str, stage: Stage | None, resident_bytes: int) -> None:
        """Answer to `ModelHandle.report`."""


@attrs.frozen
class Load:
    """Start the engine of this directory; *kv_budget_bytes* bounds its batch (0: no bound)."""

    entry: ModelEntry
    kv_budget_bytes: int


@attrs.frozen
class Stop:
    """Nobody uses the model: end its engine."""

    reason: str


@attrs.frozen
class Begin:
    """Run a granted ticket."""

    ticket: Ticket


@attrs.frozen
class Cancel:
    """Nobody reads this ticket's answer any more."""

    ticket: Ticket


@attrs.frozen
class Census:
    """Tell admission the truth about this model."""


@attrs.frozen
class Account:
    """Tell the evictor the truth about this model's memory."""


@attrs.frozen
class Pardon:
    """Forget past failures: the files changed, or an operator said so."""


@attrs.frozen
class FromEngine:
    """News of the engine, with the number of its incarnation."""

    incarnation: int
    news: EngineNews


@attrs.frozen
class RestartDue:
    """The back-off is over."""

    incarnation: int


Message = Load | Stop | Begin | Cancel | Census | Account | Pardon | FromEngine | RestartDue


@attrs.frozen
class ModelView:
    """What is shown of one model."""

    model: str
    state: ModelState
    pid: int | None
    live: int
    waiting_for_engine: int
    restarts: int
    steps: int
    decoded_tokens: int
    ghost_tokens: int
    kv_bytes: int
    barred: str | None


@attrs.define(eq=False)
class ModelHandle:
    """What the rest of the program holds of a model actor. Telling only: it never waits."""

    model: str
    _mailbox: Mailbox[Message]
    _view: Callable[[], ModelView | None]

    def load(self, entry: ModelEntry, kv_budget_bytes: int) -> None:
        self._mailbox.tell(Load(entry, kv_budget_bytes))

    def stop(self, reason: str) -> None:
        self._mailbox.tell(Stop(reason))

    def begin(self, ticket: Ticket) -> None:
        self._mailbox.tell(Begin(ticket))

    def cancel(self, ticket: Ticket) -> None:
        self._mailbox.tell(Cancel(ticket))

    def take_census(self) -> None:
        self._mailbox.tell(Census())

    def report(self) -> None:
        self._mailbox.tell(Account())

    def pardon(self) -> None:
        self._mailbox.tell(Pardon())

    @property
    def view(self) -> ModelView | None:
        """A picture for people; None between two incarnations. Decide nothing by it."""
        return self._view()


@attrs.define(eq=False)
class _Run:
    """A ticket in this actor's care."""

    ticket: Ticket
    crashes: int = 0
    rid: int | None = None  # None: not in the engine


@attrs.define(eq=False)
class ModelActor:
    """One incarnation. If it crashes, its engine goes with it and its answers end."""

    _mailbox: Mailbox[Message]
    _model: str
    _plan: EnginePlan
    _admission: AdmissionHandle
    _evictor: Evictor
    _record: Record = attrs.field(init=False, factory=lambda: Record(random.Random()))
    _state: ModelState = attrs.field(init=False, default=ModelState.COLD)
    _load: Load | None = attrs.field(init=False, default=None)
    _engine: EngineProcess | None = attrs.field(init=False, default=None)
    _incarnation: int = attrs.field(init=False, default=0)
    _load_problem: EngineRefusedLoad | None = attrs.field(init=False, default=None)
    _capacity: Capacity | None = attrs.field(init=False, default=None)
    _bytes: int = attrs.field(init=False, default=0)  # resident, as the engine measured it
    _runs: dict[Ticket, _Run] = attrs.field(init=False, factory=dict[Ticket, _Run])
    _by_rid: dict[int, _Run] = attrs.field(init=False, factory=dict[int, _Run])
    _suspects: deque[_Run] = attrs.field(init=False, factory=deque[_Run])  # begin alone
    _fresh: deque[_Run] = attrs.field(init=False, factory=deque[_Run])  # begin when they can
    _probation: _Run | None = attrs.field(init=False, default=None)  # alone, no token yet
    _next_rid: int = attrs.field(init=False, default=1)
    _restarts: int = attrs.field(init=False, default=0)
    _poison: dict[bytes, float] = attrs.field(init=False, factory=dict[bytes, float])
    _nursery: trio.Nursery = attrs.field(init=False)
    _totals: tuple[int, int, int] = attrs.field(init=False, default=(0, 0, 0))

    async def run(self) -> None:
        """Serve until cancelled; then the engine is ended and reaped before this returns."""
        try:
            async with trio.open_nursery() as self._nursery:
                while True:
                    message = await self._mailbox.receive()
                    assert message is not None
                    self._on(message)
        finally:
            for run in list(self._runs.values()):
                self._end(run, ModelCrashed(f"{self._model} is going away"))
            self._admission.gone(self._model)
            self._evictor.gone(self._model, None)

    def view(self) -> ModelView:
        steps, decoded, ghosts = self._totals
        engine = self._engine
        barred = self._record.barred(trio.current_time())
        return ModelView(
            self._model,
            self._state,
            engine.pid if engine else None,
            len(self._by_rid),
            len(self._suspects) + len(self._fresh),
            self._restarts,
            steps + (engine.steps if engine else 0),
            decoded + (engine.decoded_tokens if engine else 0),
            ghosts + (engine.ghost_tokens if engine else 0),
            engine.kv_bytes if engine else 0,
            barred.reason if barred else None,
        )

    def _on(self, message: Message) -> None:
        match message:
            case Load():
                self._on_load(message)
            case Stop(reason):
                self._on_stop(reason)
            case Begin(ticket):
                self._on_begin(ticket)
            case Cancel(ticket):
                self._on_cancel(ticket)
            case Census():
                ready = self._state in (ModelState.READY, ModelState.RESTARTING)
                capacity = self._capacity if ready else None
                self._admission.census(self._model, capacity, tuple(self._runs))
            case Account():
                self._evictor.report(self._model, _STAGES.get(self._state), self._bytes)
            case Pardon():
                self._record.pardon()
                if self._state in (ModelState.FAILED, ModelState.QUARANTINED):
                    self._move(ModelState.COLD)
            case FromEngine(incarnation, news):
                self._on_engine(incarnation, news)
            case RestartDue(incarnation):
                if incarnation == self._incarnation and self._state is ModelState.RESTARTING:
                    self._start_engine()
            case _:
                assert_never(message)

    # --- residency --------------------------------------------------------------------------

    def _on_load(self, load: Load) -> None:
        if self._state in (ModelState.FAILED, ModelState.QUARANTINED, ModelState.COLD):
            barred = self._record.barred(trio.current_time())
            if barred is not None:
                self._admission.failed(self._model, barred)
                self._evictor.gone(self._model, barred)
                return
            self._load = load
            self._move(ModelState.LOADING)
            self._start_engine()
        elif self._capacity is not None and self._state is ModelState.READY:
            self._admission.ready(self._model, self._capacity, None)
            self._evictor.loaded(self._model, 0)

    def _on_stop(self, reason: str) -> None:
        if self._state in (ModelState.LOADING, ModelState.READY, ModelState.RESTARTING):
            self._move(ModelState.STOPPING)
            if self._engine is not None:
                self._engine.stop(reason)
                return
            self._incarnation += 1  # a restart that was waiting is off
            self._reaped()
        elif self._state is not ModelState.STOPPING:
            self._admission.gone(self._model)
            self._evictor.gone(self._model, None)

    def _reaped(self) -> None:
        """The engine is gone because we wanted it."""
        self._move(ModelState.COLD)
        for run in list(self._runs.values()):
            self._end(run, ModelCrashed(f"{self._model} was stopped"))
        self._capacity = None
        self._admission.gone(self._model)
        self._evictor.gone(self._model, None)

    def _start_engine(self) -> None:
        assert self._load is not None
        self._incarnation += 1
        incarnation = self._incarnation
        self._load_problem = None
        self._engine = self._plan.engine(
            self._load.entry, lambda news: self._mailbox.tell(FromEngine(incarnation, news))
        )
        self._nursery.start_soon(self._engine.run)

    # --- streams ----------------------------------------------------------------------------

    def _on_begin(self, ticket: Ticket) -> None:
        run = self._runs[ticket] = _Run(ticket)
        known_since = self._poison.get(_fingerprint(ticket), float("-inf"))
        if trio.current_time() - known_since < POISON_S:
            self._end(run, RequestCrashesEngine(_POISON_TEXT))
        elif self._state in (ModelState.READY, ModelState.RESTARTING):
            self._fresh.append(run)
            self._pump()
        else:
            self._end(run, ModelCrashed(f"{self._model} is {self._state.value}"))

    def _on_cancel(self, ticket: Ticket) -> None:
        run = self._runs.get(ticket)
        if run is None:
            return  # its end crossed the cancel
        if run.rid is None:
            self._end(run, None)
        elif self._engine is not None:
            self._engine.cancel(run.rid)

    def _pump(self) -> None:
        """Hand to the engine what may begin: suspects each alone, the others together."""
        if self._state is not ModelState.READY or self._probation is not None:
            return
        if self._suspects:
            if not self._by_rid:
                self._probation = self._suspects.popleft()
                self._begin(self._probation, announce=True)
            return
        while self._fresh:
            self._begin(self._fresh.popleft(), announce=False)

    def _begin(self, run: _Run, *, announce: bool) -> None:
        assert self._engine is not None
        run.rid, self._next_rid = self._next_rid, self._next_rid + 1
        self._by_rid[run.rid] = run
        job = attrs.evolve(run.ticket.job, context_tokens=self._room(run.ticket.job))
        self._engine.begin(run.rid, job, run.ticket.stream, announce=announce)

    def _room(self, job: Job) -> int | None:
        """How long prompt and answer may be: what was asked, and what the memory allows."""
        assert self._capacity is not None
        room = min(job.context_tokens or math.inf, self._capacity.longest_tokens)
        return None if math.isinf(room) else int(room)

    def _end(self, run: _Run, error: LatticeError | None, ghost_tokens: int = 0) -> None:
        """Say the last word on *run*, to its reader and to admission."""
        if error is not None:
            run.ticket.stream.fail(error)
        del self._runs[run.ticket]
        if run.rid is not None:
            self._by_rid.pop(run.rid, None)
        for waiting in (self._suspects, self._fresh):
            if run in waiting:
                waiting.remove(run)
        if run is self._probation:
            self._probation = None
        self._admission.ended(run.ticket, ghost_tokens)

    # --- the engine's news ------------------------------------------------------------------

    def _on_engine(self, incarnation: int, news: EngineNews) -> None:
        if incarnation != self._incarnation:
            return
        match news:
            case EngineReady(ready):
                self._on_ready(ready)
            case EngineRefusedLoad():
                self._load_problem = news
            case FirstToken(rid):
                if self._probation is not None and self._probation.rid == rid:
                    self._probation = None
                    self._pump()
            case StreamEnded(rid, _, ghost_tokens):
                run = self._by_rid.get(rid)
                if run is not None:
                    self._end(run, None, ghost_tokens)
                    self._pump()
            case EngineGone():
                self._on_gone(news)
            case _:
                assert_never(news)

    def _on_ready(self, ready: frames.Ready) -> None:
        if self._state not in (ModelState.LOADING, ModelState.RESTARTING):
            return
        assert self._load is not None
        self._move(ModelState.READY)
        self._bytes = ready.resident_bytes
        self._record.ready(ready.load_s, trio.current_time())
        self._capacity = Capacity(
            slots=self._plan.max_streams,
            kv_bytes_per_token=ready.kv_bytes_per_token,
            kv_budget_bytes=self._load.kv_budget_bytes,
            context_tokens=ready.context_tokens,
        )
        self._admission.ready(self._model, self._capacity, ready)
        self._evictor.loaded(self._model, ready.resident_bytes)
        self._pump()

    def _on_gone(self, gone: EngineGone) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            steps, decoded, ghosts = self._totals
            self._totals = (
                steps + engine.steps,
                decoded + engine.decoded_tokens,
                ghosts + engine.ghost_tokens,
            )
        if self._state is ModelState.STOPPING:
            self._reaped()
        elif self._state is ModelState.LOADING:
            problem = self._load_problem or EngineRefusedLoad(gone.reason, permanent=False)
            self._on_load_failed(problem)
        elif self._state in (ModelState.READY, ModelState.RESTARTING):
            last_words = list(engine.stderr)[-20:] if engine is not None else []
            log.error("engine crashed", model=self._model, reason=gone.reason, stderr=last_words)
            self._on_crash(gone)

    def _on_load_failed(self, problem: EngineRefusedLoad) -> None:
        self._move(ModelState.FAILED)
        barred = self._record.load_failed(
            problem.reason, permanent=problem.permanent, now=trio.current_time()
        )
        self._admission.failed(self._model, barred)
        self._evictor.gone(self._model, barred)

    def _on_crash(self, gone: EngineGone) -> None:
        self._sort_out_survivors(gone.reason)
        match self._record.crashed(trio.current_time()):
            case Restart(delay_s):
                if self._state is not ModelState.RESTARTING:
                    self._move(ModelState.RESTARTING)
                self._restarts += 1
                self._nursery.start_soon(self._restart_later, self._incarnation, delay_s)
            case Quarantine(for_s):
                self._move(ModelState.QUARANTINED)
                reason = f"{self._model} is quarantined: its engine crashed too often"
                for run in list(self._runs.values()):
                    self._end(run, ModelQuarantined(reason, retry_after_s=for_s))
                self._capacity = None
                barred = Barred("model_quarantined", reason, for_s)
                self._admission.failed(self._model, barred)
                self._evictor.gone(self._model, barred)

    def _sort_out_survivors(self, reason: str) -> None:
        """Answers that nobody has read begin again, alone; the others end."""
        in_engine = sorted(self._by_rid.items())
        alone = len(in_engine) == 1
        self._probation = None
        self._by_rid.clear()
        for _, run in in_engine:
            run.rid = None
            run.crashes += 1
            if not run.ticket.stream.rewind():
                self._end(run, ModelCrashed(f"{self._model} crashed: {reason}"))
            elif alone and run.crashes > 1:
                self._remember_poison(run.ticket)
                self._end(run, RequestCrashesEngine(_POISON_TEXT))
            elif run.crashes > MOST_RETRIES:
                self._end(run, ModelCrashed(f"{self._model} crashed again: {reason}"))
            else:
                self._suspects.append(run)

    def _remember_poison(self, ticket: Ticket) -> None:
        while len(self._poison) >= POISON_MOST:
            del self._poison[next(iter(self._poison))]
        self._poison[_fingerprint(ticket)] = trio.current_time()

    async def _restart_later(self, incarnation: int, delay_s: float) -> None:
        await trio.sleep(delay_s)
        self._mailbox.tell(RestartDue(incarnation))

    def _move(self, to: ModelState) -> None:
        log.info("model state", model=self._model, was=self._state.value, now=to.value)
        self._state = move(self._state, to)


_STAGES = {  # what takes memory, as the evictor counts it
    ModelState.LOADING: Stage.LOADING,
    ModelState.READY: Stage.READY,
    ModelState.RESTARTING: Stage.READY,
    ModelState.STOPPING: Stage.STOPPING,
}

_POISON_TEXT = "this request crashed the engine when it ran alone; it is not tried again"


def _fingerprint(ticket: Ticket) -> bytes:
    return sha256(repr(ticket.job).encode(errors="replace")).digest()
