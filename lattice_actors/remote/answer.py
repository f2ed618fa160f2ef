"""One granted ticket at one upstream: asked, read piece by piece, asked again where that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import structlog
import trio

from lattice_actors.admission.forecast import PRIOR_BYTES_PER_TOKEN
from lattice_actors.admission.ticket import Ticket
from lattice_actors.errors import LatticeError
from lattice_actors.generation import Finish, Prefill, Vectors

from .connection import TROUBLE, Reply, fault_of
from .faults import Fault, WireFault, garbage, server_fault
from .health import RetryBudget
from .peer import Asking, Peer, Piece, Reader
from .plan import UpstreamPlan
from .probing import read_bounded
from .trying import Again, GiveUp, after

MAX_ERROR_BYTES = 64 * 1024
DRAIN_S = 0.1  # after the last word, for the end of the response: the connection is used again
IDLE_SLACK = 0.01  # of its time, how much sooner a silent server may be left
MAX_DRAIN_BYTES = 64 * 1024
VECTORS_AT_ONCE = 64  # read between two checkpoints: others have their turn

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class Answer:
    """Runs in a task of its own; cancelling it closes the connection, and theirs with it."""

    _ticket: Ticket
    _plan: UpstreamPlan
    _kind: str
    _peer: Peer
    _budget: RetryBudget
    _tried: Callable[[Fault | None], None]  # told after each try
    _ended: Callable[[], None]  # told once: the last word has been said
    _begun: bool = attrs.field(init=False, default=False)  # a piece has come

    async def run(self) -> None:
        """Answer the ticket's stream, one way or the other. Raises nothing."""
        try:
            asking = await self._peer.ask(self._ticket, self._kind)
        except LatticeError as error:
            self._ticket.stream.fail(error)
            return
        try:
            await self._until_answered(asking)
        finally:
            asking.over()

    async def _until_answered(self, asking: Asking) -> None:
        tries = 0
        while True:
            self._budget.asked(trio.current_time())
            fault = await self._try(asking)
            self._tried(fault)
            if fault is None:
                return
            tries += 1
            match self._after(fault, tries):
                case Again(pause_s):
                    await trio.sleep(pause_s)
                case give_up:
                    self._ticket.stream.fail(fault.error(elsewhere=give_up.elsewhere))
                    return

    async def _try(self, asking: Asking) -> Fault | None:
        """Send it once; return what went wrong."""
        plan = self._plan
        clock = trio.CancelScope(deadline=trio.current_time() + plan.first_byte_timeout_s)
        reader: Reader | None = None
        self._ticket.stream.vectors.clear()  # of a try that failed among them
        try:
            with clock:
                async with asking.send() as reply:
                    if reply.status != 200:
                        body = await read_bounded(reply, MAX_ERROR_BYTES)
                        return asking.refusal(reply.status, reply.headers, body)
                    reader = self._reader(asking, reply)
                    await self._read(reply, reader, clock)
        except WireFault as error:
            return error.fault
        except TROUBLE as error:
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

    def _reader(self, asking: Asking, reply: Reply) -> Reader:
        """Return what reads the answer. Raises WireFault for what can be none."""
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        packed = reply.headers.get("content-encoding", "identity").strip().lower()
        if kind not in ("text/event-stream", "application/json") or packed != "identity":
            said = f"answered with {kind[:60] or 'no content type'}"
            if packed != "identity":
                said += f", packed with {packed[:20]}"
            raise garbage(self._plan.name, said)
        return asking.reader(streamed=kind == "text/event-stream")

    async def _read(self, reply: Reply, reader: Reader, clock: trio.CancelScope) -> None:
        lines = rest = 0
        async for data in reply.chunks:
            if reader.done:
                rest += len(data)
                if rest > MAX_DRAIN_BYTES:
                    return
                continue
            first = not self._begun
            if not self._push(reader.feed(data)):
                return
            if first and self._begun:
                # It goes out before the rest is looked at. The tasks of one turn of the loop run in
                # any order, so only after two its reader has had one.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            if reader.done:
                clock.deadline = trio.current_time() + DRAIN_S
            elif reader.signs_of_life > lines:
                lines = reader.signs_of_life
                idle_s = self._plan.idle_timeout_s
                due = trio.current_time() + idle_s
                if abs(due - clock.deadline) > IDLE_SLACK * idle_s:  # a deadline is dear to set
                    clock.deadline = due
        for number, piece in enumerate(reader.end(), 1):
            if not self._push((piece,)):
                return
            if number % VECTORS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _push(self, pieces: Iterable[Piece]) -> bool:
        """Hand *pieces* on; False: nobody reads them."""
        stream = self._ticket.stream
        for piece in pieces:
            if isinstance(piece, Finish):
                stream.finish(piece)
                self._ended()  # the slot is free; what follows is about the connection only
            elif isinstance(piece, Vectors):
                stream.push_vectors(piece.content)
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
