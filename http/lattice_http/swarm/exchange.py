"""One swarm of one request, from its admission to its line in the log; streamed or not."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.errors import BadRequest, LatticeError, ShuttingDown
from lattice_actors.generation import Usage
from lattice_actors.metrics.kinds import kind_of_answer
from lattice_actors.metrics.news import (
    Part,
    SwarmBegan,
    SwarmBranchBegan,
    SwarmBranchOver,
    SwarmEnded,
    SwarmJudgeAsked,
    SwarmNews,
    SwarmText,
    SwarmVerdict,
)
from lattice_actors.swarm.asks import Ensemble, Limits, Pipeline
from lattice_actors.swarm.branch import total, usage_of
from lattice_actors.swarm.events import (
    AnswerPiece,
    BranchDelta,
    BranchDone,
    Event,
    Outcome,
    Row,
    Verdict,
)
from lattice_actors.swarm.session import SwarmSession, open_swarm
from lattice_http.errors import telling
from lattice_http.headers import Timing, timing_text
from lattice_http.prompted import Caller

from .asking import SwarmRequest
from .host import SwarmHost
from .registry import Swarms
from .rows import new_swarm_id
from .told import Telling, ToldAdmission


@attrs.define(eq=False)
class SwarmExchange:
    """What one request asks of several models, and how far that has come."""

    swarms: Swarms
    asked: SwarmRequest
    caller: Caller
    log: dict[str, Any]  # what the request's log line will say
    route: str = ""  # method and path
    id: str = attrs.field(init=False, factory=new_swarm_id)
    host: SwarmHost = attrs.field(init=False)
    rows: list[Row] = attrs.field(init=False, factory=list[Row])  # that have ended
    models: dict[int, str] = attrs.field(init=False, factory=dict[int, str])  # by branch
    judge: str | None = attrs.field(init=False, default=None)  # its model, once it was asked
    verdict: Verdict | None = attrs.field(init=False, default=None)
    outcome: Outcome | None = attrs.field(init=False, default=None)
    _session: SwarmSession = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        request = self.asked.request
        options = self.asked.template_options
        self.host = SwarmHost(self.swarms.gateway, self.caller, request, options)

    async def open(self, stack: AsyncExitStack, until: float = math.inf) -> list[Event] | None:
        """Begin, and return the first events, or None at *until*. *stack* gets what is held.

        Raises:
            LatticeError: why there is no answer.
        """
        gateway = self.swarms.gateway
        if gateway.draining:
            raise ShuttingDown("the server is shutting down")
        self.log["strategy"] = self.strategy
        limits = Limits(gateway.settings.swarm_max_branches, gateway.settings.swarm_auto_max)
        metrics, stream = gateway.lattice.metrics, self.asked.request.stream
        admission = ToldAdmission(
            gateway.lattice.admission, metrics.tell, self._about, self.route, stream
        )
        opening = open_swarm(self.asked.ask, self.host, admission, limits)
        async with AsyncExitStack() as inner:
            began = SwarmBegan(
                self.id, self.caller.arrived, self.strategy, request_id=self.request_id
            )
            self._tell(began)
            inner.push(self._tell_end)
            try:
                self._session = await inner.enter_async_context(opening)
                inner.enter_context(gateway.registered(self))
                inner.enter_context(self.swarms.listed(self.id, self._session.cancel_branch))
                events = await self.receive(until)
            except BadRequest as error:
                raise self._in_the_callers_words(error) from None
            stack.push_async_exit(inner.pop_all().__aexit__)
        return events

    async def receive(self, until: float = math.inf) -> list[Event] | None:
        """Return the next events, or None at *until*. Raises LatticeError."""
        events: list[Event] | None = None
        with trio.CancelScope(deadline=until):
            events = await self._session.receive()
        for event in events or ():
            match event:
                case BranchDelta(branch, model, text, stage):
                    self.models[branch] = model
                    self._tell(SwarmText(self.id, branch, text, model, stage))
                case BranchDone(row):
                    self.models[row.branch] = row.model
                    self.rows.append(row)
                    self._tell(
                        SwarmBranchOver(
                            self.id,
                            row.branch,
                            row.model,
                            row.usage.completion_tokens,
                            None if row.ok else row.error_kind,
                            row.stage,
                        )
                    )
                case AnswerPiece(text) if self.judge is not None and self.verdict is None:
                    # It writes the answer; what a branch has said is told as the branch's.
                    self._tell(SwarmText(self.id, None, text, self.judge))
                case Verdict():
                    self.verdict = event
                    self._tell(
                        SwarmVerdict(
                            self.id,
                            event.winner,
                            event.rationale,
                            {vote.branch: vote.share for vote in event.votes},
                            event.judge,
                        )
                    )
                case Outcome():
                    self.outcome = event
                case _:
                    pass
        return events

    async def whole(self) -> Outcome:
        """Wait for the end. Raises LatticeError, SwarmFailed where there is no answer."""
        try:
            async with AsyncExitStack() as stack:
                await self.open(stack)
                while self.outcome is None:
                    await self.receive()
        except BaseException as error:
            self.close(getattr(telling(error), "code", "failed_or_left"))
            raise
        self.close("ok")
        return self.outcome

    @property
    def winner(self) -> str | None:
        """The model of the branch that won; None: not known yet, or nobody did."""
        chosen = None if self.verdict is None else self.verdict.winner
        return None if chosen is None else self.models.get(chosen)

    @property
    def strategy(self) -> str:
        """Of a vote as it was asked for; ``pipeline``, ``debate``."""
        ask = self.asked.ask
        return ask.strategy.value if isinstance(ask, Ensemble) else type(ask).__name__.lower()

    @property
    def request_id(self) -> str:
        """Of the request that asks."""
        return self.caller.request_id

    @property
    def queued(self) -> bool:
        """Nothing has been granted yet."""
        return self.host.queued

    def fail(self, error: LatticeError) -> None:
        """End it with *error*, from outside; what is unread still comes first."""
        self._session.fail(error)

    def timing(self) -> Timing:
        """Where the time went until now: the queue's is that of the first branch to run."""
        arrived, now = self.caller.arrived, trio.current_time()
        tickets = self.host.tickets
        granted = [one.granted_at for one in tickets if not math.isnan(one.granted_at)]
        firsts = [one.stream.first_delta_at for one in tickets]
        first = min((at for at in firsts if not math.isnan(at)), default=None)
        ready = [one.ready_at for one in tickets if not math.isnan(one.ready_at)]
        return Timing(
            queue_s=max(0.0, min(granted, default=now) - arrived),
            load_s=max(0.0, min(ready) - arrived) if ready else 0.0,
            ttft_s=None if first is None else first - arrived,
            total_s=now - arrived,
        )

    def close(self, outcome: str) -> str:
        """Note in the log how it ended; return the timing as text."""
        usage = self._usage
        self.log |= {
            "outcome": outcome,
            "session": self.id,
            "branches": len(self.rows if self.outcome is None else self.outcome.rows),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        }
        if self.outcome is not None:
            self.log["model"] = self.outcome.model
        text = timing_text(self.timing())
        if self.swarms.gateway.settings.log_timing:
            self.log["timing"] = text
        return text

    def _about(self, ticket: Ticket) -> Telling:
        """Say what *ticket*, which begins to wait, is in this swarm."""
        branch = self._session.branch_of(ticket)
        if branch is not None:
            self._tell(SwarmBranchBegan(self.id, branch.number, ticket.model, branch.stage))
        else:
            self.judge = ticket.model
            self._tell(SwarmJudgeAsked(self.id, ticket.model))
        ask = self.asked.ask
        if branch is not None:
            spec, route = branch.agent_id, branch.route
        else:
            assert not isinstance(ask, Pipeline), "it has no judge"
            spec, route = ask.judge, self.host.routes[ask.judge]  # who was resolved last of all
        kind = kind_of_answer(
            self.strategy,
            stage="" if branch is None else branch.stage,
            judge=branch is None,
            chat=self.asked.meta is not None,
        )
        return Telling(
            spec=spec,
            route=route,
            part=Part(self.request_id, self.id, None if branch is None else branch.number, kind),
        )

    def _tell(self, news: SwarmNews) -> None:
        self.swarms.gateway.lattice.metrics.swarm(news)

    def _tell_end(self, _: object, error: BaseException | None, __: object) -> None:
        """Tell the outcome where it is known first: before the log has it, or after."""
        outcome = str(self.log.get("outcome", "client_left"))
        if self.outcome is not None:
            outcome = "ok"
        elif error is not None and isinstance(failure := telling(error), LatticeError):
            outcome = failure.code
        self._tell(SwarmEnded(self.id, trio.current_time(), outcome))

    @property
    def _usage(self) -> Usage:
        if self.outcome is not None:
            return self.outcome.usage
        # What was cut off has cost what it had come to.
        return total([usage_of(ticket, None) for ticket in self.host.tickets])

    def _in_the_callers_words(self, error: BadRequest) -> BadRequest:
        """What is found wrong after expansion is named as it stands in a chat."""
        if self.asked.meta is None or error.param != "models":
            return error
        return BadRequest(error.message, code=error.code, param="swarm.models")
