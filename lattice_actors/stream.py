"""The channel from a backend to the one reader of an answer. It never blocks the writer.

Bounded without losing text: beyond `MERGE_AFTER` unread pieces the newest are merged into one,
and a reader that leaves `MAX_UNREAD_BYTES` unread is cut off (the writer is told to cancel).
The counters live here, so the hot path tells no actor anything.
"""

from __future__ import annotations

import math
from collections import deque

import attrs
import trio

from .errors import Busy, LatticeError
from .generation import Delta, Finish, Prefill, Usage

MERGE_AFTER = 256  # pieces: about ten seconds of a fast model; more only means a slow reader
LOGPROB_BYTES = 8  # what one counts for: 20 beside each token are cut off after 390 tokens
MAX_UNREAD_BYTES = 64 * 1024  # UTF-8 text; a reader this far behind is not reading


class SlowReader(Busy):
    """The client did not read its answer."""

    code = "client_too_slow"


@attrs.define(eq=False)
class TokenStream:
    """Written by a backend (`push_*`, `fail`, never waiting), read by one task (`receive`)."""

    whole: bool = False  # its reader wants all of it at once: nothing counts as read before
    first_delta_at: float = attrs.field(init=False, default=math.nan)  # Trio clock, seconds
    tokens: int = attrs.field(init=False, default=0)  # pushed so far
    delivered: bool = attrs.field(init=False, default=False)  # a delta was handed to the reader
    prefill: Prefill | None = attrs.field(init=False, default=None)  # newest progress
    usage: Usage | None = attrs.field(init=False, default=None)  # known at the end
    vectors: bytearray = attrs.field(init=False, factory=bytearray)  # float32; whole at the end
    _events: deque[Delta | Finish] = attrs.field(init=False, factory=deque[Delta | Finish])
    _unread_bytes: int = attrs.field(init=False, default=0)
    _error: LatticeError | None = attrs.field(init=False, default=None)
    _ended: bool = attrs.field(init=False, default=False)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    @property
    def ended(self) -> bool:
        """The backend has said its last word: a `Finish` or an error."""
        return self._ended

    def push_prefill(self, prefill: Prefill) -> None:
        """Note progress; the reader sees the newest, not each."""
        self.prefill = prefill

    def push_vectors(self, content: bytes) -> None:
        """Add to the embeddings; the reader takes them when the answer has ended."""
        if not self._ended:
            self.vectors += content

    def push(self, delta: Delta) -> bool:
        """Add a piece. False: the reader is too far behind, its stream has failed: cancel it."""
        if self._ended:
            return False
        if self.tokens == 0 and math.isnan(self.first_delta_at):
            self.first_delta_at = trio.current_time()
        self.tokens += delta.tokens
        self._unread_bytes += (
            len(delta.text.encode())
            + len(delta.reasoning.encode())
            + sum(len(call.arguments.encode()) for call in delta.calls)
            + sum(LOGPROB_BYTES * (1 + len(each.top)) for each in delta.logprobs)
        )
        if self._unread_bytes > MAX_UNREAD_BYTES and not self.whole:
            self.fail(SlowReader(f"the client left {MAX_UNREAD_BYTES} bytes unread"))
            return False
        if len(self._events) >= MERGE_AFTER:
            last = self._events.pop()
            assert isinstance(last, Delta)
            delta = last.joined(delta)
        self._events.append(delta)
        self._news.set()
        return True

    def finish(self, finish: Finish) -> None:
        """End the answer; later words are ignored, as those for an ended stream may race."""
        if not self._ended:
            self._ended = True
            self.usage = finish.usage
            self._events.append(finish)
            self._news.set()

    def fail(self, error: LatticeError) -> None:
        """End the answer with *error*, after what is unread. A fresh instance for each stream."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._news.set()

    def rewind(self) -> bool:
        """Forget what nobody has read, so that the answer can begin again elsewhere.

        False: a piece was handed to the reader already; there is no way back.
        """
        if self.delivered or self._ended:
            return False
        self._events.clear()
        self.vectors.clear()
        self._unread_bytes = self.tokens = 0
        self.first_delta_at, self.prefill = math.nan, None
        return True

    async def receive(self) -> list[Delta | Finish]:
        """Return all that is unread, at least one event; a `Finish` is always the last.

        A *whole* stream is returned in one piece, at its end.

        Raises:
            LatticeError: what the stream failed with.
            trio.EndOfChannel: after the `Finish`.
        """
        waited = False
        while not self._events or (self.whole and not self._ended):
            if self._error is not None:
                raise self._error
            if self._ended:
                raise trio.EndOfChannel
            self._news = trio.Event()
            await self._news.wait()
            waited = True
        if self.whole and self._error is not None:
            raise self._error  # half an answer is none
        if not waited:
            await trio.lowlevel.checkpoint()
        return self.take()

    def take(self) -> list[Delta | Finish]:
        """Return what is unread now, which may be nothing."""
        unread = list(self._events)
        self._events.clear()
        self._unread_bytes = 0
        self.delivered = True
        return unread
