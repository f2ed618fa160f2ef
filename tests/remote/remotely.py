"""A lattice without models of its own, in front of other servers; on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Limits
from lattice_actors.capability.question import Ask, NoRoute, Route, Rules
from lattice_actors.catalog.entry import CLOUD, ModelEntry, Snapshot
from lattice_actors.generation import Chat, Delta, Finish, Job
from lattice_actors.lattice import Budget, Inventory, Lattice, open_lattice
from lattice_actors.remote.cloud_plan import CloudPlan
from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.remote.upstream_handle import UpstreamView
from tests.actors.house import FakePlan

QUICK = {
    "connect_timeout_s": 5.0,
    "first_byte_timeout_s": 1.0,
    "idle_timeout_s": 1.0,
    "probe_timeout_s": 1.0,
}


def plan(name: str, url: str, **fields: Any) -> UpstreamPlan:  # noqa: ANN401 - of UpstreamPlan
    """An upstream that is not waited for."""
    return UpstreamPlan(name, url, **{**QUICK, **fields})


@attrs.define
class Remote:
    """A running lattice, and how to ask it."""

    lattice: Lattice

    async def ask(self, model: str, **fields: Any) -> tuple[list[Delta], Finish]:  # noqa: ANN401 - of Ticket
        """Return the pieces and the end; raises what the caller would see."""
        ticket = self.ticket(model, **fields)
        pieces: list[Delta] = []
        async with self.lattice.admission.grant(ticket):
            while True:
                for event in await ticket.stream.receive():
                    if isinstance(event, Finish):
                        return pieces, event
                    pieces.append(event)

    async def text(self, model: str, **fields: Any) -> str:  # noqa: ANN401 - of Ticket
        pieces, _ = await self.ask(model, **fields)
        return "".join(piece.text for piece in pieces)

    def ticket(self, model: str, patience_s: float = 20.0, **fields: Any) -> Ticket:  # noqa: ANN401 - of Ticket
        now = trio.current_time()
        job = fields.pop("job", Job(Chat(({"role": "user", "content": "hello"},)), 100))
        return Ticket("r-1", model, job, 20, now, now + patience_s, **fields)

    async def route(self, spec: str | None, **fields: Any) -> Route | NoRoute:  # noqa: ANN401 - of Ask
        route, _ = await self.lattice.route(Ask(spec, **fields))
        return route

    async def chosen(self, spec: str | None, **fields: Any) -> str:  # noqa: ANN401 - of Ask
        route = await self.route(spec, **fields)
        assert isinstance(route, Route), route
        return route.model

    def view(self, name: str) -> UpstreamView:
        return next(view for view in self.lattice.upstreams.views() if view.name == name)

    async def running(self) -> int:
        view = await self.lattice.admission.view()
        return sum(seen.running + seen.leaving for seen in view.models.values())

    async def until_idle(self) -> None:
        """Wait until no ticket runs."""
        await self.until_running(0)

    async def until_running(self, count: int, within_s: float = 5.0) -> None:
        """Wait until so many tickets run."""
        with trio.fail_after(within_s):
            while await self.running() != count:  # noqa: ASYNC110 - nobody sets an event for a test
                await trio.sleep(0.005)

    async def until(self, told: Callable[[], bool], within_s: float = 5.0) -> None:
        """Wait until *told* says so."""
        with trio.fail_after(within_s):
            while not told():  # noqa: ASYNC110 - nobody sets an event for a test
                await trio.sleep(0.005)


@asynccontextmanager
async def open_remote(
    *plans: UpstreamPlan,
    models: tuple[str, ...] = (),
    rules: Rules | None = None,
    limits: Limits | None = None,
    cloud: CloudPlan | None = None,
) -> AsyncIterator[Remote]:
    """Open a lattice with these upstreams, and fakes for the *models* of this machine."""
    entries = tuple(ModelEntry(name, weights_bytes=100) for name in models)
    if cloud is not None:
        rules = attrs.evolve(rules or Rules(), cloud_model=f"{CLOUD}/{cloud.model}")
    inventory = Inventory(lambda: Snapshot(entries), rules or Rules(), upstreams=plans, cloud=cloud)
    async with open_lattice(inventory, Budget(), limits or Limits(), FakePlan()) as lattice:
        await lattice.catalog.snapshot()
        yield Remote(lattice)


def cloud(url: str, **fields: Any) -> CloudPlan:  # noqa: ANN401 - of CloudPlan
    """Anthropic at *url*: a configured model, and one that has a bare name."""
    models = ("claude-a", "claude-b")
    own = {"api_key": "sk-ant-secret", "models": models, **fields.pop("server", {})}
    server = plan(CLOUD, url, **own)
    known: dict[str, Any] = {"model": "claude-a", "by_name": frozenset({"claude-b"}), **fields}
    return CloudPlan(server, **known)
