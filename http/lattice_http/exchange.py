"""One request for answers, from its resolution to its line in the log; streamed or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio

from lattice_actors.catalog.entry import CLOUD
from lattice_actors.errors import (
    BadRequest,
    LoadFailed,
    ModelQuarantined,
    OutOfMemory,
    Unavailable,
    UpstreamBusy,
    UpstreamFailed,
)
from lattice_actors.generation import Delta, Finish, Usage
from lattice_actors.metrics.news import Arrived, Resolved
from lattice_actors.metrics.preview import preview_of

from .answering import Answering, Event
from .cloud import unheard
from .errors import telling
from .gateway import Gateway, Routed
from .headers import (
    Timing,
    cache_result,
    header_value,
    ignored_params,
    routed_to,
    timing_headers,
    timing_text,
)
from .own_names import say_in_own_names
from .prompted import Caller, Prompted

MOST_ROUTES = 4  # models tried for one request, when each turns out to be broken


@attrs.define(eq=False)
class Exchange:
    """What one request asks, who answers it, and how far that has come."""

    gateway: Gateway
    prompted: Prompted
    caller: Caller
    log: dict[str, Any]  # what the request's log line will say
    routed: Routed = attrs.field(init=False)
    answering: Answering = attrs.field(init=False)
    finished: dict[int, Finish] = attrs.field(init=False, factory=dict[int, Finish])

    async def open(self, stack: AsyncExitStack, until: float = math.inf) -> list[Event] | None:
        """Resolve, wait for the grant, and return the first events, or None at *until*.

        What the answers hold is entered on *stack*. A model that turns out to be broken is
        replaced by the next one the caller named, as long as nothing has come.

        Raises:
            LatticeError: why there is no answer.
        """
        broken: BaseException | None = None
        avoid: frozenset[str] = frozenset()
        spill: str | None = None  # why it goes to the cloud after all,
        spilled: BaseException | None = None  # and what the others said
        self._tell_arrival()
        for attempt in range(1, MOST_ROUTES + 1):
            try:
                self.routed = await self.gateway.prepare(self.prompted, self.caller, avoid, spill)
            except Unavailable as nobody_else:
                raise broken or nobody_else from None
            if spilled is not None and self.routed.route.backend != CLOUD:
                raise spilled
            self.log |= {"model": self.model, "resolution": self.routed.route.resolution}
            self._tell_resolution()
            try:
                async with AsyncExitStack() as inner:
                    entering = self.gateway.answering(self.routed.tickets)
                    self.answering = await inner.enter_async_context(entering)
                    first = await self.receive(until)
                    stack.push_async_exit(inner.pop_all().__aexit__)
                    return first
            except Exception as group:  # noqa: BLE001 - typed below, and raised again
                broken = telling(group)
                say_in_own_names(broken, self.prompted.request.own_names)
                if spilled is None and attempt < MOST_ROUTES:
                    spill = self.gateway.escalation.after(broken, self.prompted.request.wishes)
                    if spill is not None:
                        spilled = broken
                        continue
                avoid |= {self.model}
                # The resolver knows now that it is broken, and whom else the caller would take.
                if attempt == MOST_ROUTES or not self._may_go_elsewhere(broken):
                    raise broken from None
        raise AssertionError("the last attempt returns or raises")

    async def receive(self, until: float = math.inf) -> list[Event] | None:
        """Return the next events, or None at *until*. Raises LatticeError."""
        try:
            events = await self.answering.receive(until)
        except BadRequest as error:
            say_in_own_names(error, self.prompted.request.own_names)
            raise
        for index, event in events or ():
            if isinstance(event, Finish):
                self.finished[index] = event
        return events

    async def collect(self) -> list[list[Delta]]:
        """Wait for the ends of all answers and return the pieces of each. Raises LatticeError."""
        deltas: list[list[Delta]] = [[] for _ in range(self.prompted.choices)]
        try:
            async with AsyncExitStack() as stack:
                events = await self.open(stack)
                while events:
                    for index, event in events:
                        if isinstance(event, Delta):
                            deltas[index].append(event)
                    events = None if self.answering.over else await self.receive()
        except BaseException:
            self.log.setdefault("outcome", "failed_or_left")
            raise
        self.close("ok")
        return deltas

    def _tell_arrival(self) -> None:
        metrics, asked = self.gateway.lattice.metrics, self.prompted.request
        messages = self.prompted.messages or [{"role": "user", "content": self.prompted.text}]
        preview = preview_of(messages, metrics.shown) if metrics.shown.capture_prompts else None
        key = (self.caller.request_id, self.caller.arrived)
        metrics.tell(Arrived(key, self.caller.principal, asked.spec, asked.stream, preview))

    def _tell_resolution(self) -> None:
        """Its end is told by `RequestLog`, which sees that of every request."""
        route, tickets = self.routed.route, self.routed.tickets
        self.gateway.lattice.metrics.tell(
            Resolved(
                (self.caller.request_id, self.caller.arrived),
                trio.current_time(),
                route.model,
                route.backend,
                tickets[0].klass.value,
                route.resolution,
                tickets,
            )
        )

    def _may_go_elsewhere(self, error: BaseException) -> bool:
        if isinstance(error, UpstreamFailed | UpstreamBusy):
            return error.elsewhere
        allowed = self.gateway.settings.on_model_miss == "fallback"
        return allowed and isinstance(error, LoadFailed | ModelQuarantined | OutOfMemory)

    @property
    def model(self) -> str:
        """The id of the model that answers."""
        return self.routed.route.model

    @property
    def usage(self) -> Usage:
        """The sum over all answers so far; a prompt with several answers counts once."""
        usages = {index: finish.usage for index, finish in self.finished.items()}
        return total_usage(usages, self.prompted.request.n)

    def timing(self) -> Timing:
        """Where the time went, until now."""
        arrived, now = self.caller.arrived, trio.current_time()
        ticket = self.routed.tickets[0]
        granted = now if math.isnan(ticket.granted_at) else ticket.granted_at
        first = ticket.stream.first_delta_at
        asked = arrived + self.routed.resolve_s
        return Timing(
            resolve_s=self.routed.resolve_s,
            queue_s=max(0.0, granted - asked),
            load_s=0.0 if math.isnan(ticket.ready_at) else max(0.0, ticket.ready_at - asked),
            ttft_s=None if math.isnan(first) else first - arrived,
            total_s=now - arrived,
        )

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the answer."""
        route, request = self.routed.route, self.prompted.request
        backend = "mlx-grab" if self.gateway.single else route.backend
        headers = [("X-Model-Routed-To", routed_to(backend, route.model))]
        if route.resolution is not None:
            headers.append(("X-Model-Resolution", header_value(route.resolution)))
        if ignored := request.ignored + unheard(route.backend, request):
            headers.append(("X-Lattice-Ignored-Params", ignored_params(ignored)))
        if self.routed.clamped:
            headers.append(("X-Lattice-Clamped-Params", ", ".join(self.routed.clamped)))
        prefills = [ticket.stream.prefill for ticket in self.routed.tickets]
        if (cache := cache_result(prefills)) is not None:
            headers.append(("X-Lattice-Cache", cache))
        trimmed = max((finish.trimmed_messages for finish in self.finished.values()), default=0)
        if trimmed:
            headers.append(("X-Lattice-Trimmed-Messages", str(trimmed)))
        if self.answering.cut:
            headers.append(("X-Lattice-Cut", "timeout"))
        return headers + timing_headers(self.timing())

    def close(self, outcome: str) -> str:
        """Note in the log how it ended; return the timing as text."""
        timing, usage = self.timing(), self.usage
        self.log |= {
            "outcome": outcome,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens
            or sum(ticket.stream.tokens for ticket in self.routed.tickets),
            "finish_reason": next((f.reason.value for f in self.finished.values()), None),
        }
        text = timing_text(timing)
        if self.gateway.settings.log_timing:
            self.log["timing"] = text
        return text


def total_usage(usages: Mapping[int, Usage], n: int = 1) -> Usage:
    """Return the sum over the choices of *usages*, each prompt having *n*.

    A prompt counts once, with what was cached of it for the first of its choices.
    """
    prompt = completion = cached = reasoning = 0
    counted: set[int] = set()
    for choice, usage in sorted(usages.items()):
        completion += usage.completion_tokens
        reasoning += usage.reasoning_tokens
        if choice // n not in counted:
            counted.add(choice // n)
            prompt += usage.prompt_tokens
            cached += usage.cached_tokens
    return Usage(prompt, completion, cached, reasoning)
