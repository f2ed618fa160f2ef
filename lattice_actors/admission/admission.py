"""The admission actor: the only scheduler. Carries out what `queue.py` decides.

A grant is slot and lease in one, given only for models that are READY. A ticket that was
granted is `leaving` from the moment its request goes until its backend tells `Ended`; slot,
lease and KV bytes come back together then.
"""

from __future__ import annotations

import math
from typing import assert_never

import attrs
import trio

from lattice_actors.mailbox import Mailbox, Reply

from .forecast import Forecast
from .messages import (
    Barring,
    Census,
    Drain,
    Eligible,
    Ended,
    Enter,
    EnterGang,
    Failed,
    Fate,
    Gone,
    Leave,
    Loading,
    MakeRoom,
    Message,
    ModelOutlook,
    Outlook,
    Pardoned,
    Predict,
    Ready,
    Remind,
    View,
)
from .neighbours import Backends, Residents
from .queue import AdmissionQueue
from .refusal_errors import error_of
from .ticket import Ticket
from .verdicts import Cancel, Drained, Facts, Granted, Phase, Refused, Unwant, Verdict, Want


@attrs.define(eq=False)
class AdmissionActor:
    """One incarnation. A new one learns what runs from the backends before it decides."""

    _mailbox: Mailbox[Message]
    _queue: AdmissionQueue[Ticket]
    _forecast: Forecast
    _backends: Backends
    _residents: Residents
    _replies: dict[Ticket, Reply[float]] = attrs.field(
        init=False, factory=dict[Ticket, Reply[float]]
    )
    _turned_away: dict[Ticket, Refused[Ticket]] = attrs.field(
        init=False, factory=dict[Ticket, Refused[Ticket]]
    )  # members of gangs whose task has not asked yet
    _running: dict[str, int] = attrs.field(init=False, factory=dict[str, int])
    _barred: dict[str, tuple[Barring, float]] = attrs.field(
        init=False, factory=dict[str, "tuple[Barring, float]"]
    )
    _missing: set[str] = attrs.field(init=False, factory=set[str])

    async def run(self) -> None:
        """Serve until cancelled."""
        self._begin_census()
        while True:
            message = await self._mailbox.receive(self._queue.next_deadline)
            now = trio.current_time()
            self._carry_out(self._queue.expire(now))  # always: a busy mailbox must not delay it
            if message is not None:
                self._carry_out(self._on(message, now))

    def _begin_census(self) -> None:
        backends = self._backends.all()
        self._missing = {backend.model for backend in backends}
        if backends:
            self._queue.begin_rebuilding(trio.current_time())
        for backend in backends:
            backend.take_census()

    def _on(self, message: Message, now: float) -> list[Verdict[Ticket]]:
        queue = self._queue
        match message:
            case Enter():
                return self._on_enter(message, now)
            case EnterGang():
                return self._on_enter_gang(message, now)
            case Eligible(ticket):
                return queue.eligible(ticket, self._facts(ticket), now)
            case Leave(ticket):
                self._replies.pop(ticket, None)
                self._turned_away.pop(ticket, None)
                return queue.leave(ticket, now)
            case Ended():
                return self._on_ended(message, now)
            case Ready():
                return self._on_ready(message, now)
            case Gone(model):
                return queue.gone(model, now)
            case Failed():
                return self._on_failed(message, now)
            case Loading(model):
                return queue.loading(model, now)
            case Pardoned(model):
                self._barred.pop(model, None)
            case MakeRoom(model, victims):
                return queue.make_room(model, victims, now)
            case Drain(model):
                verdicts = queue.drain(model, now)
                if Drained(model) not in verdicts:
                    self._residents.draining(model)
                return verdicts
            case Census():
                return self._on_census(message, now)
            case Remind():
                self._remind()
            case View(reply):
                reply.send(queue.view(now))
            case Predict(ticket, reply):
                seen = queue.predict(self._facts(ticket), now)
                load_s = self._forecast.load_s(ticket.model)
                reply.send(Fate(seen.klass, seen.position, seen.wait_s, load_s))
            case Outlook(reply):
                reply.send(self._outlook(now))
            case _:
                assert_never(message)
        return []

    # --- requests ---------------------------------------------------------------------------

    def _on_enter(self, enter: Enter, now: float) -> list[Verdict[Ticket]]:
        ticket, reply = enter.ticket, enter.reply
        if not math.isnan(ticket.granted_at):  # before its task came, or before a crash here
            reply.send(max(0.0, ticket.granted_at - ticket.arrived))
            return []
        refused = self._turned_away.pop(ticket, None)
        if refused is not None:
            reply.fail(error_of(refused))
            return []
        self._replies[ticket] = reply
        facts = self._facts(ticket)
        if ticket.gang is None:
            return self._queue.enter(ticket, facts, now)
        return self._queue.rejoin(ticket, facts, now, eligible=ticket not in ticket.gang.held)

    def _on_enter_gang(self, enter: EnterGang, now: float) -> list[Verdict[Ticket]]:
        branches = [(ticket, self._facts(ticket)) for ticket in enter.branches]
        later = [(ticket, self._facts(ticket)) for ticket in enter.later]
        verdicts = self._queue.enter_gang(branches, later, now)
        refusals = [verdict for verdict in verdicts if isinstance(verdict, Refused)]
        if refusals:
            enter.reply.fail(error_of(refusals[0]))
            return []
        enter.reply.send(None)
        return verdicts

    # --- news -------------------------------------------------------------------------------

    def _on_ended(self, ended: Ended, now: float) -> list[Verdict[Ticket]]:
        ticket = ended.ticket
        stream, usage = ticket.stream, ticket.stream.usage
        if usage is not None and usage.completion_tokens > 0 and stream.tokens > 0:
            self._forecast.observed_finish(
                ticket.model,
                prompt_tokens=usage.prompt_tokens,
                prompt_bytes=ticket.prompt_bytes,
                completion_tokens=usage.completion_tokens,
                max_tokens=ticket.job.max_tokens,
                decode_s=now - stream.first_delta_at,
                ttft_s=stream.first_delta_at - ticket.granted_at,
            )
        self._count(ticket.model, -1)
        return self._queue.ended(ticket, now)

    def _on_ready(self, ready: Ready, now: float) -> list[Verdict[Ticket]]:
        self._barred.pop(ready.model, None)
        measured = ready.measured
        if measured is not None:
            self._forecast.observed_load(ready.model, measured.load_s)
            self._forecast.ready(ready.model, measured.decode_step_s, measured.prefill_tokens_per_s)
        return self._queue.ready(ready.model, ready.capacity, now)

    def _on_failed(self, failed: Failed, now: float) -> list[Verdict[Ticket]]:
        model, barred, after = failed.model, failed.barred, failed.barred.retry_after_s
        self._barred[model] = (barred, now + after if after is not None else math.inf)
        return self._queue.failed(
            model, barred.code, barred.reason, after, now, streams_run=failed.streams_run
        )

    def _on_census(self, census: Census, now: float) -> list[Verdict[Ticket]]:
        facts = [(ticket, self._facts(ticket)) for ticket in census.running]
        self._set_count(census.model, len(census.running))
        ready = census.capacity is not None
        verdicts = self._queue.census(census.model, ready, census.capacity, facts, now)
        self._missing.discard(census.model)
        if not self._missing and self._queue.rebuilding:
            verdicts += self._queue.begin(now)
            self._residents.remind()
        return verdicts

    def _remind(self) -> None:
        for model, running in self._running.items():
            self._residents.used(model, busy=running > 0)
        self._carry_out(self._queue.remind(trio.current_time()))

    # --- verdicts ---------------------------------------------------------------------------

    def _carry_out(self, verdicts: list[Verdict[Ticket]]) -> None:
        for verdict in verdicts:
            match verdict:
                case Granted(ticket, queued_s):
                    self._grant(ticket, queued_s)
                case Refused(ticket):
                    reply = self._replies.pop(ticket, None)
                    if reply is not None:
                        reply.fail(error_of(verdict))
                    elif ticket.gang is not None:  # its task has not come yet
                        self._turned_away[ticket] = verdict
                case Cancel(ticket):
                    self._backends.of(ticket.model).cancel(ticket)
                case Want(model):
                    self._residents.want(model)
                case Unwant(model):
                    self._residents.unwant(model)
                case Drained(model):
                    self._residents.drained(model)
                case _:
                    assert_never(verdict)

    def _grant(self, ticket: Ticket, queued_s: float) -> None:
        reply = self._replies.pop(ticket, None)
        if math.isnan(ticket.granted_at):  # else a census named it: it is running already
            ticket.granted_at = trio.current_time()
            ticket.ready_at = self._queue.ready_since(ticket.model)
            self._count(ticket.model, +1)
            if ticket.gang is not None:
                ticket.gang.begun = True
            self._backends.of(ticket.model).begin(ticket)
        if reply is not None:
            reply.send(queued_s)

    def _count(self, model: str, change: int) -> None:
        self._set_count(model, max(0, self._running.get(model, 0) + change))

    def _set_count(self, model: str, running: int) -> None:
        before = self._running.get(model, 0)
        self._running[model] = running
        if (before > 0) != (running > 0):
            self._residents.used(model, busy=running > 0)

    # --- facts ------------------------------------------------------------------------------

    def _facts(self, ticket: Ticket) -> Facts:
        prompt = self._forecast.estimate_prompt_tokens(ticket.model, ticket.prompt_bytes)
        begun = ticket.gang is not None and ticket.gang.begun
        return Facts(
            model=ticket.model,
            key=ticket.key,
            klass=ticket.klass,
            priority=ticket.priority,
            arrived=ticket.arrived,
            wait_until=math.inf if begun else ticket.wait_until,
            deadline=ticket.deadline,
            cost_tokens=prompt + ticket.job.max_tokens,
            prompt_tokens=prompt,
            max_tokens=ticket.job.max_tokens,
            shorten=ticket.job.shorten,
            gang=ticket.gang.id if ticket.gang else None,
        )

    def _outlook(self, now: float) -> dict[str, ModelOutlook]:
        view = self._queue.view(now)
        waits = dict.fromkeys(view.models, 0.0)
        for waiting in view.waiting:
            waits[waiting.model] = max(waits[waiting.model], waiting.predicted_wait_s)
        outlook = {
            model: ModelOutlook(
                resident=shown.phase is Phase.READY,
                idle=shown.running + shown.leaving + shown.waiting == 0,
                wait_s=waits[model],
                load=shown.load,
            )
            for model, shown in view.models.items()
        }
        for model, (barred, until) in list(self._barred.items()):
            if now >= until:
                del self._barred[model]
            else:
                known = outlook.get(model, ModelOutlook(resident=False, idle=True, wait_s=0.0))
                outlook[model] = attrs.evolve(known, barred=barred)
        return outlook
