"""The upstreams by name, and the two places where they stand beside the models of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from lattice_actors.admission.neighbours import Residents
from lattice_actors.admission.ticket import Backend
from lattice_actors.intensity import Intensity
from lattice_actors.mailbox import Mailbox
from lattice_actors.residency.directory import ModelDirectory
from lattice_actors.supervisor import Supervisor

from .ledger import Ledger
from .plan import UpstreamPlan
from .upstream import UpstreamActor
from .upstream_handle import Message, UpstreamHandle, UpstreamModel, UpstreamView


@attrs.define(eq=False)
class UpstreamDirectory:
    """Starts an actor for each plan; a model belongs to the one its id begins with."""

    ledger: Ledger
    _supervisor: Supervisor
    _incarnate: Callable[[Mailbox[Message], UpstreamPlan], UpstreamActor]
    _handles: dict[str, UpstreamHandle] = attrs.field(init=False, factory=dict[str, UpstreamHandle])
    _actors: dict[str, UpstreamActor] = attrs.field(init=False, factory=dict[str, UpstreamActor])
    _used: dict[str, UpstreamModel] = attrs.field(init=False, factory=dict[str, UpstreamModel])

    def start(
        self, plan: UpstreamPlan, *, called: str = "", under: Supervisor | None = None
    ) -> None:
        """Start the actor of *plan*, with its name, as a child of the upstreams, or other ones."""
        mailbox = Mailbox[Message](called or plan.name)
        name = plan.name
        self._handles[name] = UpstreamHandle(name, mailbox, lambda: self._view(name))
        # As for models: a bug about one server takes nothing else down.
        patient = Intensity(restarts=1_000_000, window_s=3600.0)
        supervisor = under or self._supervisor
        supervisor.start(mailbox, lambda box: self._make(box, plan), intensity=patient)

    def owner(self, model: str) -> UpstreamHandle | None:
        """Return the upstream that *model* belongs to by its id, offered or not."""
        name, slash, _ = model.partition("/")
        return self._handles.get(name) if slash else None

    def of(self, model: str) -> UpstreamModel | None:
        """Return where tickets for *model* run; None where it is no upstream's."""
        owner = self.owner(model)
        if owner is None:
            return None
        return self._used.setdefault(model, owner.model(model))

    def used(self) -> tuple[UpstreamModel, ...]:
        """Return every model that was given a ticket."""
        return tuple(self._used.values())

    def views(self) -> tuple[UpstreamView, ...]:
        """Return a picture of each, for people; one between two incarnations is left out."""
        views = (handle.view for handle in self._handles.values())
        return tuple(view for view in views if view is not None)

    def states(self) -> Mapping[str, str]:
        """Return the state of each model, for people."""
        return {entry.id: view.state_of(entry) for view in self.views() for entry in view.models}

    def refresh(self) -> None:
        """Ask all servers now what they have."""
        for handle in self._handles.values():
            handle.refresh()

    def _make(self, mailbox: Mailbox[Message], plan: UpstreamPlan) -> UpstreamActor:
        actor = self._actors[plan.name] = self._incarnate(mailbox, plan)
        return actor

    def _view(self, name: str) -> UpstreamView | None:
        actor = self._actors.get(name)
        return actor.view() if actor is not None else None


@attrs.frozen
class AllBackends:
    """Where tickets run, here and elsewhere: what admission sees."""

    _models: ModelDirectory
    _upstreams: UpstreamDirectory

    def of(self, model: str) -> Backend:
        return self._upstreams.of(model) or self._models.of(model)

    def all(self) -> tuple[Backend, ...]:
        return (*self._models.all(), *self._upstreams.used())


@attrs.frozen
class AllResidents:
    """What admission tells about residency: to the evictor, which knows this machine only."""

    _evictor: Residents
    _upstreams: UpstreamDirectory

    def want(self, model: str) -> None:
        owner = self._upstreams.owner(model)
        if owner is not None:
            owner.want(model)
        else:
            self._evictor.want(model)

    def unwant(self, model: str) -> None:
        if self._upstreams.owner(model) is None:
            self._evictor.unwant(model)

    def drained(self, model: str) -> None:
        if self._upstreams.owner(model) is None:
            self._evictor.drained(model)

    def draining(self, model: str) -> None:
        if self._upstreams.owner(model) is None:
            self._evictor.draining(model)

    def remind(self) -> None:
        self._evictor.remind()

    def used(self, model: str, *, busy: bool) -> None:
        if self._upstreams.owner(model) is None:
            self._evictor.used(model, busy=busy)
