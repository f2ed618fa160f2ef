"""The branches of one session: who they are, how they run, and how they are stopped.

The crew holds nothing of an engine. A branch's own task takes the grant and gives it back, also
when it is cancelled; its scope is what stops it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.catalog.entry import LOCAL
from lattice_actors.errors import LatticeError
from lattice_actors.generation import Delta, Finish, FinishReason, JsonObject, Usage

from .asks import Agent, Debate, Ensemble, Limits, Manner
from .branch import BY_OPERATOR, LOST, Branch, missed, total, usage_of
from .events import BranchDelta, BranchDone, Row
from .faults import fault_of
from .feed import Feed
from .host import Admission, Host
from .roster import Member, expand

Heard = Callable[[Branch, Delta], None]


def ignored(branch: Branch, delta: Delta) -> None:
    """Nobody waits for these pieces."""


@attrs.define(eq=False)
class Crew:
    """Everyone who works for one session."""

    host: Host
    admission: Admission
    feed: Feed
    started: float = attrs.field(factory=trio.current_time)
    _rows: dict[int, Row] = attrs.field(init=False, factory=dict[int, Row])
    _live: dict[int, Branch] = attrs.field(init=False, factory=dict[int, Branch])
    _usages: list[Usage] = attrs.field(init=False, factory=list[Usage])

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those that are over, in order of `branch`."""
        return tuple(self._rows[number] for number in sorted(self._rows))

    @property
    def live(self) -> int:
        """How many wait or run."""
        return len(self._live)

    @property
    def usage(self) -> Usage:
        """The sum over all that has ended: branches and judge."""
        return total(self._usages)

    def deadline(self, timeout_s: float | None) -> float:
        """Return when the time of all branches is over, Trio seconds."""
        return math.inf if timeout_s is None else self.started + timeout_s

    async def members(self, ask: Ensemble | Debate, limits: Limits) -> tuple[Member, ...]:
        """Return who is asked now. Raises BadRequest or NoModels."""
        there = await self.host.inventory()
        return expand(
            ask.agents,
            ask.manner,
            limits,
            loaded=there.loaded,
            available=there.available,
            presets=there.presets,
        )

    async def line_up(
        self,
        members: Sequence[Member],
        messages: Sequence[JsonObject],
        deadline: float,
        stage: str = "",
    ) -> list[Branch]:
        """Resolve and enlist who is asked. A miss is a row at once, and fails no other."""
        branches = []
        for number, member in enumerate(members):
            agent = member.agent
            shown = own_messages(agent, messages)
            route = await self.host.route(agent.spec, shown)
            if isinstance(route, NoRoute):
                self.end(missed(number, agent.spec, route, stage))
                continue
            ticket = self.host.ticket(route, shown, member.manner)
            own = math.inf if agent.timeout_s is None else self.started + agent.timeout_s
            scope = trio.CancelScope(deadline=min(own, deadline))
            branches.append(Branch(number, agent.spec, route, ticket, stage, scope=scope))
        self.enlist(branches)
        return branches

    def enlist(self, branches: Sequence[Branch]) -> None:
        """From now on they can be stopped, before they run too."""
        self._live |= {branch.number: branch for branch in branches}

    def branch_of(self, ticket: Ticket) -> Branch | None:
        """Return the branch that waits or runs with *ticket*."""
        found = (branch for branch in self._live.values() if branch.ticket is ticket)
        return next(found, None)

    def stop(self, number: int) -> bool:
        """Stop one branch from outside; False when no such branch waits or runs."""
        branch = self._live.get(number)
        if branch is not None:
            branch.stop(BY_OPERATOR)
        return branch is not None

    def stop_others(self, *winners: Branch) -> None:
        """Stop all that are not over and not among *winners*."""
        for branch in list(self._live.values()):
            if branch not in winners:
                branch.stop(LOST)

    async def run(
        self, branch: Branch, heard: Heard = ignored, turns: trio.Semaphore | None = None
    ) -> Row:
        """Get its answer and return its row. *heard* is called after each piece.

        Where there are *turns*, a branch that is `later` waits for one, any other has one; it is
        given back at the end.
        """
        has_turn = not branch.later
        branch.started = trio.current_time()

        def take(delta: Delta) -> None:
            branch.take(delta)
            if delta.text or delta.reasoning:
                told = BranchDelta(
                    branch.number, branch.route.model, delta.text, branch.stage, delta.reasoning
                )
                self.feed.tell(told)
            heard(branch, delta)

        with branch.scope:
            try:
                if branch.later:
                    if turns is not None:
                        await turns.acquire()
                        has_turn = True
                    self.admission.eligible(branch.ticket)
                branch.finish = await self.read(branch.ticket, take)
                if branch.finish is None and branch.text.strip():  # else it is late, not empty
                    branch.finish = cut_off(branch.ticket)
            except LatticeError as error:
                foreign = branch.route.backend != LOCAL
                # One that was stopped at the same moment says so.
                branch.fault = branch.fault or fault_of(error, foreign=foreign)
        if turns is not None and has_turn:
            turns.release()
        self._live.pop(branch.number, None)
        row = branch.row(trio.current_time())
        self._usages.append(row.usage)
        self.end(row)
        return row

    async def run_all(
        self,
        branches: Sequence[Branch],
        *,
        heard: Heard = ignored,
        ended: Callable[[Row], None] = lambda row: None,
        max_parallel: int | None = None,
    ) -> None:
        """Run them side by side. *ended* is called with each row, and may stop others."""
        turns = None
        if max_parallel is not None:
            at_once = sum(not branch.later for branch in branches)
            turns = trio.Semaphore(max(0, max_parallel - at_once))

        async def run_one(branch: Branch) -> None:
            ended(await self.run(branch, heard, turns))

        async with trio.open_nursery() as nursery:
            for branch in branches:
                nursery.start_soon(run_one, branch)
                await trio.lowlevel.checkpoint()  # so that they take turns in this order

    async def read(self, ticket: Ticket, take: Callable[[Delta], None]) -> Finish | None:
        """Hold the grant of *ticket* until its answer ends, or None: it takes too long.

        Raises LatticeError.
        """
        async with self.admission.grant(ticket):
            ends_at = min(ticket.deadline, trio.current_time() + self.host.generation_timeout_s)
            with trio.CancelScope(deadline=ends_at):
                while True:
                    for event in await ticket.stream.receive():
                        if isinstance(event, Finish):
                            return event
                        take(event)
        return None

    async def read_apart(self, ticket: Ticket, take: Callable[[Delta], None]) -> Finish:
        """`read` a ticket of *later* that belongs to no branch: a judge's. Raises LatticeError.

        An answer that takes too long ends as it is.
        """
        finish: Finish | None = None
        self.admission.eligible(ticket)
        try:
            finish = await self.read(ticket, take)
        finally:
            self._usages.append(usage_of(ticket, finish))
        return finish or cut_off(ticket)

    def fill(
        self, ticket: Ticket, route: Route, messages: Sequence[JsonObject], manner: Manner
    ) -> None:
        """Give a ticket of *later* its job, now that its messages are known."""
        put_job(ticket, self.host.ticket(route, messages, manner))

    def end(self, row: Row) -> None:
        """Note and tell that a branch is over."""
        self._rows[row.branch] = row
        self.feed.tell(BranchDone(row))


def cut_off(ticket: Ticket) -> Finish:
    """Return the end of an answer that took too long: what has come is the answer."""
    return Finish(FinishReason.LENGTH, usage_of(ticket, None))


def put_job(ticket: Ticket, filled: Ticket) -> None:
    """Let *ticket*, which has its place in the queue, do the job of *filled*."""
    ticket.job, ticket.prompt_bytes = filled.job, filled.prompt_bytes


def own_messages(agent: Agent, messages: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """Return what *agent* is shown."""
    shown = agent.messages if agent.messages is not None else tuple(messages)
    return shown if agent.system is None else with_system(agent.system, shown)


def with_system(system: str, messages: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """Return *messages* with *system* in place of the system messages they have."""
    rest = [message for message in messages if message.get("role") not in ("system", "developer")]
    return ({"role": "system", "content": system}, *rest)
