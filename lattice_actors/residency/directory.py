"""The model actors by name: the supervisor of all models that are or were resident."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from lattice_actors.intensity import Intensity
from lattice_actors.mailbox import Mailbox
from lattice_actors.supervisor import Supervisor

from .model import ModelActor
from .model_handle import Message, ModelHandle, ModelView


@attrs.define(eq=False)
class ModelDirectory:
    """Creates the actor of a model when it is first asked for; it stays until the end."""

    _supervisor: Supervisor
    _incarnate: Callable[[Mailbox[Message], str], ModelActor]
    _handles: dict[str, ModelHandle] = attrs.field(init=False, factory=dict[str, ModelHandle])
    _actors: dict[str, ModelActor] = attrs.field(init=False, factory=dict[str, ModelActor])

    def of(self, model: str) -> ModelHandle:
        """Return the handle of *model*; it stays valid over restarts."""
        handle = self._handles.get(model)
        if handle is None:
            mailbox = Mailbox[Message](model)
            handle = ModelHandle(model, mailbox, lambda: self._view(model))
            self._handles[model] = handle
            # A model actor that keeps crashing is a bug of ours: one model's bug takes nothing
            # else down, so its slot may restart for as long as it likes, with long pauses.
            patient = Intensity(restarts=1_000_000, window_s=3600.0)
            self._supervisor.start(mailbox, lambda box: self._make(box, model), intensity=patient)
        return handle

    def all(self) -> tuple[ModelHandle, ...]:
        """Return the handles of every model that is or was resident."""
        return tuple(self._handles.values())

    def views(self) -> tuple[ModelView, ...]:
        """Return a picture of each, for people; between two incarnations there is none."""
        return tuple(view for handle in self.all() if (view := handle.view) is not None)

    def _make(self, mailbox: Mailbox[Message], model: str) -> ModelActor:
        actor = self._actors[model] = self._incarnate(mailbox, model)
        return actor

    def _view(self, model: str) -> ModelView | None:
        actor = self._actors.get(model)
        return actor.view() if actor is not None else None
