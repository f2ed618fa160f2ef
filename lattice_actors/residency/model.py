"""The model actor: owns one model's engine process, its restarts and its streams.

It outlives its engine. `states.py` draws its life. A crash of the engine is normal work here:
answers that nobody has read anything of begin again, each alone in the engine, so that a
request which kills it is found out; the others end with `model_crashed`.
"""

from __future__ import annotations

import random
from typing import assert_never

import attrs
import structlog
import trio

from lattice_actors.admission.handle import AdmissionHandle
from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Capacity
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
from lattice_actors.errors import (
    LoadFailed,
    ModelCrashed,
    ModelQuarantined,
    OutOfMemory,
)
from lattice_actors.mailbox import Mailbox
from lattice_actors.metrics.news import Failed, Loaded, Stopped

from .answers import Answers
from .engine_plan import EnginePlan
from .model_handle import (
    Account,
    Begin,
    Cancel,
    Census,
    FromEngine,
    Load,
    Message,
    ModelView,
    Pardon,
    RestartDue,
    Stop,
)
from .neighbours import Evictor, Metrics
from .oom import died_of_memory
from .restart import Barred, Quarantine, Record, Restart
from .room import Stage
from .states import ModelState, move
from .totals import Totals

LAST_WORDS = 20  # lines of a crashed engine's stderr that go into the log

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class ModelActor:
    """One incarnation. If it crashes, its engine goes with it and its answers end."""

    _mailbox: Mailbox[Message]
    _model: str
    _plan: EnginePlan
    _admission: AdmissionHandle
    _evictor: Evictor
    _metrics: Metrics
    _answers: Answers = attrs.field(init=False)
    _record: Record = attrs.field(init=False, factory=lambda: Record(random.Random()))
    _state: ModelState = attrs.field(init=False, default=ModelState.COLD)
    _load: Load | None = attrs.field(init=False, default=None)
    _engine: EngineProcess | None = attrs.field(init=False, default=None)
    _incarnation: int = attrs.field(init=False, default=0)  # of the engine
    _started_at: float = attrs.field(init=False, default=0.0)  # its process, Trio seconds
    _load_problem: EngineRefusedLoad | None = attrs.field(init=False, default=None)
    _capacity: Capacity | None = attrs.field(init=False, default=None)
    _kills_before: int = attrs.field(init=False, default=0)  # kernel's, at the engine's start
    _bytes: int = attrs.field(init=False, default=0)  # resident, as the engine measured it
    _totals: Totals = attrs.field(init=False, factory=Totals)
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._answers = Answers(self._model, self._admission)

    async def run(self) -> None:
        """Serve until cancelled; then the engine is ended and reaped before this returns."""
        try:
            async with trio.open_nursery() as self._nursery:
                while True:
                    message = await self._mailbox.receive()
                    assert message is not None
                    self._on(message)
        finally:
            self._answers.end_all(lambda: ModelCrashed(f"{self._model} is going away"))
            self._admission.gone(self._model)
            self._evictor.gone(self._model, None)

    def view(self) -> ModelView:
        """What people are shown."""
        totals, engine = attrs.evolve(self._totals), self._engine
        if engine is not None:
            totals.add(engine)
        barred = self._record.barred(trio.current_time())
        return ModelView(
            model=self._model,
            state=self._state,
            pid=engine.pid if engine else None,
            live=self._answers.in_engine,
            waiting_for_engine=self._answers.waiting,
            restarts=totals.restarts,
            steps=totals.steps,
            decoded_tokens=totals.decoded_tokens,
            ghost_tokens=totals.ghost_tokens,
            stray_frames=totals.stray_frames,
            kv_bytes=engine.kv_bytes if engine else 0,
            barred=barred.reason if barred else None,
            prefix_bytes=engine.prefix_bytes if engine else 0,
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
                self._answers.cancel(ticket, self._engine)
            case Census():
                serves = self._state in (ModelState.READY, ModelState.RESTARTING)
                capacity = self._capacity if serves else None
                self._admission.census(self._model, capacity, self._answers.tickets)
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
                self._tell_failed(barred)
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
            self._metrics.tell(Stopped(self._model, reason))
            if self._engine is not None:
                self._engine.stop(reason)
                return
            self._incarnation += 1  # a restart that was waiting is off
            self._on_reaped()
        elif self._state is not ModelState.STOPPING:
            self._tell_gone()

    def _on_reaped(self) -> None:
        """The engine is gone because we wanted it."""
        self._move(ModelState.COLD)
        self._answers.end_all(lambda: ModelCrashed(f"{self._model} was stopped"))
        self._capacity = None
        self._tell_gone()

    def _start_engine(self) -> None:
        assert self._load is not None
        self._incarnation += 1
        self._started_at = trio.current_time()
        incarnation = self._incarnation

        def tell(news: EngineNews) -> None:
            self._mailbox.tell(FromEngine(incarnation, news))

        self._load_problem = None
        self._kills_before = self._plan.kernel_kills()
        self._engine = self._plan.engine(self._load.entry, tell)
        self._engine.watch = self._metrics.tell
        self._nursery.start_soon(self._engine.run)

    def _tell_gone(self) -> None:
        self._admission.gone(self._model)
        self._evictor.gone(self._model, None)

    def _tell_failed(self, barred: Barred) -> None:
        self._admission.failed(self._model, barred)
        self._evictor.gone(self._model, barred)

    # --- streams ----------------------------------------------------------------------------

    def _on_begin(self, ticket: Ticket) -> None:
        if not self._answers.enter(ticket):
            return
        if self._state in (ModelState.READY, ModelState.RESTARTING):
            self._pump()
        else:
            self._answers.end(ticket, ModelCrashed(f"{self._model} is {self._state.value}"))

    def _pump(self) -> None:
        """Hand to the engine what may begin."""
        if self._state is ModelState.READY:
            assert self._engine is not None
            assert self._load is not None
            assert self._capacity is not None
            self._answers.give(self._engine, self._load.entry.kind, self._capacity)

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
                self._answers.first_token(rid)
                self._pump()
            case StreamEnded(rid):
                self._answers.stream_ended(rid)
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
        self._answers.engine_ready()
        self._bytes = ready.resident_bytes
        self._record.ready(ready.load_s, trio.current_time())
        self._metrics.tell(Loaded(self._model, trio.current_time() - self._started_at))
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
        assert engine is not None
        self._totals.add(engine)
        self._answers.engine_gone()
        last_words = list(engine.stderr)[-LAST_WORDS:]
        kills = self._plan.kernel_kills() - self._kills_before
        if self._state is ModelState.STOPPING:
            self._on_reaped()
        elif died_of_memory(gone.returncode, [gone.reason, *last_words], kills):
            self._on_out_of_memory()
        elif self._state is ModelState.LOADING or self._load_problem is not None:
            problem = self._load_problem or EngineRefusedLoad(gone.reason, permanent=False)
            self._on_load_failed(problem)
        else:
            log.error("engine crashed", model=self._model, reason=gone.reason, stderr=last_words)
            self._on_crash(gone.reason)

    def _on_out_of_memory(self) -> None:
        """Trying again at once would end the same way: give memory back, and cool down."""
        self._move(ModelState.FAILED)
        text = f"{self._model} ran out of memory; the memory budget has been lowered"
        barred = self._record.out_of_memory(trio.current_time())
        self._tell_failure("oom", text)
        self._answers.end_all(lambda: OutOfMemory(text, retry_after_s=barred.retry_after_s))
        self._capacity = None
        self._evictor.ran_out(self._model)
        self._tell_failed(barred)

    def _on_load_failed(self, problem: EngineRefusedLoad) -> None:
        self._move(ModelState.FAILED)
        self._answers.end_all(lambda: LoadFailed(problem.reason))  # those of a restart that failed
        now = trio.current_time()
        self._tell_failure("model_load_failed", problem.reason)
        barred = self._record.load_failed(problem.reason, permanent=problem.permanent, now=now)
        self._tell_failed(barred)

    def _on_crash(self, reason: str) -> None:
        self._tell_failure("model_crashed", reason)
        self._answers.crashed(reason)
        match self._record.crashed(trio.current_time()):
            case Restart(delay_s):
                if self._state is not ModelState.RESTARTING:
                    self._move(ModelState.RESTARTING)
                self._totals.restarts += 1
                self._nursery.start_soon(self._restart_later, self._incarnation, delay_s)
            case Quarantine(for_s):
                self._move(ModelState.QUARANTINED)
                text = f"{self._model} is quarantined: its engine crashed too often"
                self._answers.end_all(lambda: ModelQuarantined(text, retry_after_s=for_s))
                self._capacity = None
                self._tell_failed(Barred("model_quarantined", text, for_s))

    async def _restart_later(self, incarnation: int, delay_s: float) -> None:
        await trio.sleep(delay_s)
        self._mailbox.tell(RestartDue(incarnation))

    def _tell_failure(self, code: str, message: str) -> None:
        self._metrics.tell(Failed(self._model, trio.current_time(), code, message))

    def _move(self, to: ModelState) -> None:
        log.info("model state", model=self._model, was=self._state.value, now=to.value)
        self._state = move(self._state, to)


_STAGES = {  # what takes memory, as the evictor counts it
    ModelState.LOADING: Stage.LOADING,
    ModelState.READY: Stage.READY,
    ModelState.RESTARTING: Stage.READY,
    ModelState.STOPPING: Stage.STOPPING,
}
