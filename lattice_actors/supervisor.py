"""Children that are started in order, restarted within limits, and stopped in reverse order.

A child slot owns the mailbox. Each incarnation of the actor is a fresh object made from it: one
that crashes leaves its unread messages to the next, and the asks it had read are answered with
`ActorRestarted`. A child that crashes too often takes its supervisor down (`GaveUp`).

    STARTING -> RUNNING -> BACKING_OFF -> RUNNING -> ... -> STOPPED
                   |            `-> FAILED (gave up)
                   `-> STOPPED
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import attrs
import structlog
import trio

from .errors import GaveUp
from .intensity import Intensity
from .mailbox import Mailbox

M = TypeVar("M")

STOP_GRACE_S = 10.0  # an actor that takes longer to stop than this is left behind, and logged

log = structlog.get_logger(__name__)


class ChildState(enum.Enum):
    """Where a child slot is; the moves are drawn above."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"
    FAILED = "failed"


class Actor(Protocol):
    """One incarnation: serves its mailbox until it is cancelled, or crashes."""

    async def run(self) -> None: ...


@attrs.frozen
class ActorView:
    """What the dashboard shows of one actor or supervisor."""

    name: str
    state: str
    mailbox_depth: int
    restarts: int
    age_s: float  # since the current incarnation began
    last_error: str | None = None
    children: tuple[ActorView, ...] = ()


@attrs.define(eq=False)
class _Child:
    name: str
    mailbox: Mailbox[Any] | None
    run: Callable[[], Awaitable[None]]
    intensity: Intensity
    nested: Supervisor | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)  # round all incarnations
    state: ChildState = ChildState.STARTING
    restarts: int = 0
    since: float = attrs.field(factory=trio.current_time)
    last_error: str | None = None
    done: trio.Event = attrs.field(factory=trio.Event)

    def view(self, now: float) -> ActorView:
        depth = self.mailbox.depth if self.mailbox is not None else 0
        return ActorView(
            self.name,
            self.state.value,
            depth,
            self.restarts,
            now - self.since,
            self.last_error,
            self.nested.views() if self.nested is not None else (),
        )

    def stop(self, reason: str) -> None:
        if self.nested is not None:
            self.nested.stop()
        else:
            self.scope.cancel(reason=reason)


@attrs.define(eq=False)
class Supervisor:
    """Owns its children's nursery. Use it through `open_supervisor`, or as a child of another."""

    name: str
    _children: dict[str, _Child] = attrs.field(init=False, factory=dict[str, _Child])
    _nursery: trio.Nursery | None = attrs.field(init=False, default=None)
    _stopping: trio.Event = attrs.field(init=False, factory=trio.Event)

    def start(
        self,
        mailbox: Mailbox[M],
        incarnate: Callable[[Mailbox[M]], Actor],
        *,
        intensity: Intensity | None = None,
    ) -> None:
        """Start the actor of *mailbox*, named after its owner.

        What is sent before it runs waits in the mailbox; *incarnate* makes one incarnation.
        """
        self._adopt(
            _Child(
                mailbox.owner,
                mailbox,
                lambda: incarnate(mailbox).run(),
                intensity or Intensity(),
            )
        )

    def start_supervisor(self, child: Supervisor) -> None:
        """Take *child* in; its giving up is ours, because its children already had their tries."""
        self._adopt(_Child(child.name, None, child.run, Intensity(), nested=child))

    def stop(self) -> None:
        """Begin the ordered stop; `run` returns when the last child has ended."""
        self._stopping.set()

    def views(self) -> tuple[ActorView, ...]:
        """The children in the order of their start."""
        now = trio.current_time()
        return tuple(child.view(now) for child in self._children.values())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the children until `stop`.

        Shielded: a cancellation from outside reaches the body of `open_supervisor`, which stops
        the children in order. Otherwise all of them would be cut off at the same moment.

        Raises:
            GaveUp: in an exception group, when a child crashed too often.
        """
        with trio.CancelScope(shield=True):
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    task_status.started()
                    for child in self._children.values():
                        nursery.start_soon(self._keep, child)
                    await self._stopping.wait()
                    await self._stop_in_reverse()
            finally:
                self._nursery = None
                for child in self._children.values():
                    if child.mailbox is not None:
                        child.mailbox.close()

    def _adopt(self, child: _Child) -> None:
        if child.name in self._children:
            raise ValueError(f"{self.name} already has a child {child.name!r}")
        self._children[child.name] = child
        if self._stopping.is_set():
            child.state = ChildState.STOPPED
            child.done.set()
            if child.mailbox is not None:
                child.mailbox.close()
        elif self._nursery is not None:
            self._nursery.start_soon(self._keep, child)

    async def _keep(self, child: _Child) -> None:
        try:
            with child.scope:
                while True:
                    child.state, child.since = ChildState.RUNNING, trio.current_time()
                    try:
                        await child.run()
                    except Exception as error:
                        if child.nested is not None:
                            raise
                        delay = self._crashed(child, error)
                    else:
                        return
                    await trio.sleep(delay)
        finally:
            if child.state is not ChildState.FAILED:
                child.state = ChildState.STOPPED
            if child.mailbox is not None:
                child.mailbox.close()
            child.done.set()

    def _crashed(self, child: _Child, error: Exception) -> float:
        now = trio.current_time()
        child.last_error = f"{type(error).__name__}: {error}"
        delay = child.intensity.crashed(now)
        log.error("actor crashed", actor=child.name, restart_in_s=delay, exc_info=error)
        assert child.mailbox is not None
        child.mailbox.abandon()
        if delay is None:
            child.state = ChildState.FAILED
            raise GaveUp(f"{child.name} crashed too often") from error
        child.restarts += 1
        child.state, child.since = ChildState.BACKING_OFF, now
        return delay

    async def _stop_in_reverse(self) -> None:
        for child in reversed(list(self._children.values())):
            child.stop(f"{self.name} stops")
            with trio.move_on_after(STOP_GRACE_S) as grace:
                await child.done.wait()
            if grace.cancelled_caught:
                log.warning("actor did not stop in time", actor=child.name, grace_s=STOP_GRACE_S)
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel(reason=f"{self.name} stops")


@asynccontextmanager
async def open_supervisor(name: str) -> AsyncIterator[Supervisor]:
    """Run a supervisor around the body; leaving it, in whatever way, stops the children."""
    supervisor = Supervisor(name)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        try:
            yield supervisor
        finally:
            supervisor.stop()
