"""When a request that names no model goes to the cloud: the operator's rules, as one value."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs

from lattice_actors.capability.big_task import BigTask, text_of
from lattice_actors.capability.question import Bound
from lattice_actors.catalog.entry import CLOUD
from lattice_actors.errors import BadRequest, QueueRefused
from lattice_actors.generation import JsonObject
from lattice_actors.lattice import Lattice
from lattice_actors.remote.anthropic_wire import UNHEARD
from lattice_actors.settings import Settings

from .openai.request import ModelRequest
from .openai.wishes import Wishes

OVERLOAD, CONTEXT = "overload", "context"
_OVERLOADED = frozenset({"queue_overloaded_model", "queue_overloaded_total"})
_TOO_LONG = "context_length_exceeded"


def bound_of(wishes: Wishes, settings: Settings) -> Bound:
    """Return where a request may be answered. Nothing loosens the server's own local-only."""
    if settings.locality == "local-only":
        return "local-only"
    if wishes.locality is not None:
        return wishes.locality
    return "prefer-local" if settings.locality == "prefer-local" else "any"


@attrs.frozen
class Escalation:
    """What the settings allow."""

    big_task: BigTask | None = None  # None: not for being big
    spill_over: Collection[str] = ()

    @classmethod
    def of(cls, settings: Settings) -> Escalation:
        """Return what *settings* allow."""
        rule = BigTask(
            settings.big_task_min_words,
            settings.big_task_min_chars,
            settings.big_task_min_bullets,
            settings.big_task_min_step_markers,
        )
        return cls(rule if settings.anthropic_auto_route else None, settings.anthropic_spill_over)

    def at_once(self, wishes: Wishes, messages: Collection[JsonObject]) -> str | None:
        """Return why a chat goes there before any other model is asked, or None."""
        if self.big_task is None or not wishes.auto_route or not messages:
            return None
        return self.big_task.why(text_of(messages))

    def after(self, error: BaseException, wishes: Wishes) -> str | None:
        """Return why a chat goes there after *error*, or None."""
        if not wishes.auto_route:
            return None
        if OVERLOAD in self.spill_over and isinstance(error, QueueRefused):
            return "overload" if error.code in _OVERLOADED else None
        too_long = isinstance(error, BadRequest) and error.code == _TOO_LONG
        return "context" if CONTEXT in self.spill_over and too_long else None

    def fits(self, constraints: Collection[str], wishes: Wishes) -> bool:
        """Whether a chat goes there because no other model fulfils *constraints*."""
        if not constraints or not wishes.auto_route or CONTEXT not in self.spill_over:
            return False
        return all(one.startswith("min_context_window") for one in constraints)


def unheard(backend: str, request: ModelRequest) -> tuple[str, ...]:
    """Return the parameters of *request* that have no effect at *backend*."""
    if backend != CLOUD:
        return ()
    return tuple(name for name in UNHEARD if getattr(request, name) is not None)


def cloud_facts(lattice: Lattice, settings: Settings) -> dict[str, Any]:
    """Return the keys of ``/healthz``."""
    return {
        "anthropic_enabled": lattice.cloud is not None,
        "anthropic_model": settings.anthropic_model,
        "anthropic_auto_route": settings.anthropic_auto_route,
        "locality": settings.locality,
    }
