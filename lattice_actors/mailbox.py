"""The only way in to an actor: messages that are told, and messages that are asked.

A mailbox belongs to the child slot of a supervisor and outlives the incarnations of its actor,
so a handle stays valid over restarts. Only the supervisor closes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import attrs
import outcome
import trio

from .errors import ActorRestarted, ActorStopped, MailboxFull

M = TypeVar("M")
T = TypeVar("T")

MOST_ASKS = 4  # an actor that is restarted this often while one ask waits will not answer it


@attrs.define(eq=False)
class Reply(Generic[T]):
    """The answer to one ask. The first result stays; later ones are ignored."""

    _result: outcome.Maybe[T] | None = attrs.field(init=False, default=None)
    _settled: trio.Event = attrs.field(init=False, factory=trio.Event)
    _owed: set[Reply[Any]] | None = attrs.field(init=False, default=None)

    def send(self, value: T) -> None:
        """Give *value* to the asker."""
        self._settle(outcome.Value(value))

    def fail(self, error: Exception) -> None:
        """Raise *error* in the asker. Pass a fresh one to each asker: tracebacks are mutable."""
        self._settle(outcome.Error(error))

    async def wait(self) -> T:
        """Return what was sent; raises what it was failed with."""
        await self._settled.wait()
        assert self._result is not None
        return self._result.unwrap()

    def note(self, owed: set[Reply[Any]]) -> None:
        """Keep this reply in *owed* until it is settled: what the reader of the ask must answer."""
        if self._result is None:
            owed.add(self)
            self._owed = owed

    def _settle(self, result: outcome.Maybe[T]) -> None:
        if self._result is None:
            self._result = result
            self._settled.set()
            if self._owed is not None:
                self._owed.discard(self)


@attrs.define(eq=False)
class Mailbox(Generic[M]):
    """Unread messages of one actor, oldest first, and the asks it has read but not answered.

    A message with a `reply` is an ask. Asks beyond *limit* unread messages are refused at once,
    so overload is an error and not a hang. Tells are always taken: each one ends something that
    an ask began, so the limit bounds both.
    """

    owner: str
    limit: int = 256
    _send: trio.MemorySendChannel[M] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[M] = attrs.field(init=False)
    _open: set[Reply[Any]] = attrs.field(init=False, factory=set[Reply[Any]])

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[M](math.inf)

    @property
    def depth(self) -> int:
        """How many messages are unread."""
        return self._send.statistics().current_buffer_used

    def tell(self, message: M) -> None:
        """Deliver *message* without a checkpoint: safe in ``finally``, also when cancelled."""
        # If the actor is gone, so is whatever this message would have released.
        with suppress(trio.BrokenResourceError):
            self._send.send_nowait(message)

    async def ask(self, message: M, reply: Reply[T]) -> T:
        """Deliver *message* and wait for its *reply*.

        Raises:
            MailboxFull: *limit* messages are unread already.
            ActorStopped: the actor has ended, or ends before it answers.
            ActorRestarted: the incarnation that read the message crashed.
        """
        if self.depth >= self.limit:
            raise MailboxFull(f"{self.owner} has {self.limit} unread messages")
        try:
            self._send.send_nowait(message)
        except trio.BrokenResourceError:
            raise ActorStopped(f"{self.owner} has stopped") from None
        try:
            return await reply.wait()
        finally:
            self._open.discard(reply)

    async def ask_anew(self, make: Callable[[Reply[T]], M]) -> T:
        """Like `ask`, with a fresh message each time the reader of the last one was restarted.

        For asks that do nothing twice. Raises as `ask`, but never `ActorRestarted`.
        """
        for _ in range(MOST_ASKS):
            reply: Reply[T] = Reply()  # unsubscripted: naming T again would take longer
            try:
                return await self.ask(make(reply), reply)
            except ActorRestarted:
                continue
        raise ActorStopped(f"{self.owner} was restarted {MOST_ASKS} times during one ask")

    async def receive(self, deadline: float = math.inf) -> M | None:
        """Return the next message, or ``None`` at *deadline* (Trio clock, seconds).

        A message that is already here wins over a deadline that has passed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            message = self._read(self._receive.receive_nowait())
        except trio.WouldBlock:
            if deadline == math.inf:
                return self._read(await self._receive.receive())
            with trio.move_on_at(deadline):
                return self._read(await self._receive.receive())
            return None
        # Taken: it cannot be given up any more, but the others have their turn.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    def abandon(self) -> None:
        """Fail the asks that were read and never answered: the incarnation that owed them died."""
        for reply in list(self._open):
            reply.fail(ActorRestarted(f"{self.owner} was restarted"))
        self._open.clear()

    def close(self) -> None:
        """Refuse every later message and fail every ask that has no answer yet."""
        # Closing a Trio channel drops its buffer, and an ask dropped there would wait for ever.
        with suppress(trio.WouldBlock, trio.ClosedResourceError):
            while True:
                self._read(self._receive.receive_nowait())
        self._receive.close()
        for reply in list(self._open):
            reply.fail(ActorStopped(f"{self.owner} has stopped"))
        self._open.clear()

    def _read(self, message: M) -> M:
        reply = getattr(message, "reply", None)
        if isinstance(reply, Reply):
            reply.note(self._open)
        return message
