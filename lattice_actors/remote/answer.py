"""One granted ticket at one upstream: asked, read piece by piece, asked again where that helps."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import httpx2
import structlog
import trio

from lattice_actors.admission.forecast import PRIOR_BYTES_PER_TOKEN
from lattice_actors.admission.ticket import Ticket
from lattice_actors.errors import BadRequest
from lattice_actors.generation import Delta, Finish, Prefill

from .asking import request_of
from .connection import Connection, Reply, fault_of
from .faults import Fault, of_status, server_fault
from .health import RetryBudget
from .openai_wire import AnswerReader, WireFault
from .plan import UpstreamPlan
from .probing import read_bounded
from .trying import Again, GiveUp, after

MAX_ERROR_BYTES = 64 * 1024
DRAIN_S = 0.1  # after the last word, for the end of the response: the connection is used again
MAX_DRAIN_BYTES = 64 * 1024

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class Answer:
    """Runs in a task of its own; cancelling it closes the connection, and theirs with it."""

    _ticket: Ticket
    _plan: UpstreamPlan
    _kind: str
    _connection: Connection
    _budget: RetryBudget
    _tried: Callable[[Fault | None], None]  # told after each try
    _ended: Callable[[], None]  # told once: the last word has been said
    _begun: bool = attrs.field(init=False, default=False)  # a piece has come

    async def run(self) -> None:
        """Answer the ticket's stream, one way or the other. Raises nothing."""
        ticket, plan = self._ticket, self._plan
        try:
            path, body = request_of(ticket.job, plan.name_of(ticket.model), self._kind)
        except BadRequest as error:
            ticket.stream.fail(error)
            return
        tries = 0
        while True:
            self._budget.asked(trio.current_time())
            fault = await self._try(path, body)
            self._tried(fault)
            if fault is None:
                return
            tries += 1
            match self._after(fault, tries):
                case Again(pause_s):
                    await trio.sleep(pause_s)
                case give_up:
                    ticket.stream.fail(fault.error(elsewhere=give_up.elsewhere))
                    return

    async def _try(self, path: str, body: bytes) -> Fault | None:
        """Send it once; return what went wrong."""
        plan = self._plan
        clock = trio.CancelScope(deadline=trio.current_time() + plan.first_byte_timeout_s)
        reader: AnswerReader | None = None
        try:
            with clock:
                sending = self._connection.send(path, body, self._ticket.request_id, "answer")
                async with sending as reply:
                    refused = await self._refusal(reply)
                    if refused is not None:
                        return refused
                    reader = self._reader(reply)
                    await self._read(reply, reader, clock)
        except WireFault as error:
            return error.fault
        except (httpx2.HTTPError, OSError) as error:
            return None if self._ticket.stream.ended else fault_of(plan.name, error)
        except Exception as error:  # a bug of ours or the client's: the neighbours must not notice
            log.exception("answer of an upstream", upstream=plan.name)
            return fault_of(plan.name, error)
        if self._ticket.stream.ended:
            return None
        silent = reader is not None and reader.signs_of_life > 0
        limit_s = plan.idle_timeout_s if silent else plan.first_byte_timeout_s
        said = f"said nothing for {limit_s:g} s"
        return server_fault(plan.name, said, "upstream_timeout")

    @property
    def _prompt_tokens(self) -> int:
        """An estimate."""
        return round(self._ticket.prompt_bytes / PRIOR_BYTES_PER_TOKEN)

    async def _refusal(self, reply: Reply) -> Fault | None:
        if reply.status == 200:
            return None
        body = await read_bounded(reply, MAX_ERROR_BYTES)
        return of_status(
            self._plan.name, reply.status, reply.headers, body, secret=self._plan.api_key
        )

    def _reader(self, reply: Reply) -> AnswerReader:
        """Return what reads the answer. Raises WireFault for what can be none."""
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        packed = reply.headers.get("content-encoding", "identity").strip().lower()
        if kind not in ("text/event-stream", "application/json") or packed != "identity":
            said = f"answered with {kind[:60] or 'no content type'}"
            if packed != "identity":
                said += f", packed with {packed[:20]}"
            raise WireFault(server_fault(self._plan.name, said, "upstream_bad_answer"))
        return AnswerReader(
            self._plan.name,
            streamed=kind == "text/event-stream",
            prompt_tokens=self._prompt_tokens,
            secret=self._plan.api_key,
        )

    async def _read(self, reply: Reply, reader: AnswerReader, clock: trio.CancelScope) -> None:
        lines = rest = 0
        async for data in reply.chunks:
            if reader.done:
                rest += len(data)
                if rest > MAX_DRAIN_BYTES:
                    return
                continue
            if not self._push(reader.feed(data)):
                return
            if reader.done:
                clock.deadline = trio.current_time() + DRAIN_S
            elif reader.signs_of_life > lines:
                lines = reader.signs_of_life
                clock.deadline = trio.current_time() + self._plan.idle_timeout_s
        self._push(reader.end())

    def _push(self, pieces: list[Delta | Finish]) -> bool:
        """Hand *pieces* on; False: nobody reads them."""
        stream = self._ticket.stream
        for piece in pieces:
            if isinstance(piece, Finish):
                stream.finish(piece)
                self._ended()  # the slot is free; what follows is about the connection only
            else:
                if not self._begun:
                    self._begun = True  # the prompt has been read; how long it was is told last
                    stream.push_prefill(Prefill(self._prompt_tokens, self._prompt_tokens))
                if not stream.push(piece):
                    return False
        return True

    def _after(self, fault: Fault, tries: int) -> Again | GiveUp:
        ticket = self._ticket
        return after(
            fault,
            tries=tries,
            retries=self._plan.retries,
            begun=self._begun or ticket.stream.ended,
            now=trio.current_time(),
            patience_until=min(ticket.wait_until, ticket.deadline),
            budget=self._budget,
        )
