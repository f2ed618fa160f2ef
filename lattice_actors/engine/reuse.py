"""Prompts that begin as others did: what one stream has read, another need not read again.

Two sources: what streams left behind (`prefixes.py`) and, where a cache can be cut back to any
length, the streams that are in the batch right now. A stream whose prompt begins like one that
is being read waits for it where that saves enough, so a burst with a common beginning reads it
once.

Only mlx-lm's plain `KVCache` can be cut back. Sliding windows and recurrent states have forgotten
what they would need; for models with any of those, states are kept at places of which it is
known beforehand that others may go on from there (after the system prompt, before the answer,
after the answer), and they serve only prompts that contain all of their tokens.

Whatever goes wrong here costs a prefill and nothing else: errors are printed, and the prompt is
read from its beginning.
"""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Protocol

import attrs
import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

from .answer import Stream
from .generator import State
from .prefixes import Entry, Ids, Kind, Prefixes, common_prefix, ids_of

LEAST_HIT = 8  # tokens; fewer are read faster than they are fetched
COPIES_A_TOKEN = 16  # tokens whose state is copied at most, to save reading one
LEAST_KEPT = 16  # tokens; what templates begin with is shared by everybody and worth nothing
LEAST_SYSTEM = 32  # tokens of a system prompt that is kept for itself
MOST_SUSPECTED = 2  # failed steps right after a reuse, until the cache is switched off
WORTH_WAITING = 32  # tokens that waiting for another stream must save


class Source(Protocol):
    """The generator, as far as its caches are copied from it."""

    def extract_cache(self, uids: list[int]) -> dict[int, tuple[State, list[int]]]: ...


@attrs.frozen
class Found:
    """What a stream begins with."""

    state: State | None = None
    length: int = 0  # tokens that are in *state*
    differs_at: int = 0  # index of the first token that is new


@attrs.define(eq=False)
class Reuse:
    """The prefix cache of one batch. With 0 bytes it is off: nothing is looked up or shared."""

    _max_bytes: int
    _cuttable: bool  # all of the model's caches can be cut back to any length
    _prefixes: Prefixes[State] = attrs.field(init=False)
    _left: list[tuple[Stream, State, list[int]]] = attrs.field(init=False, factory=list)
    _in_company: bool = attrs.field(init=False, default=False)  # others go on in the same arrays
    _unproven: bool = attrs.field(init=False, default=False)  # used since the last good step
    _suspected: int = attrs.field(init=False, default=0)  # steps that failed right after a use

    def __attrs_post_init__(self) -> None:
        self._prefixes = Prefixes(self._max_bytes)

    @classmethod
    def of(cls, model: object, max_bytes: int) -> Reuse:
        """Return the cache for a loaded model."""
        cuttable = all(type(cache) is KVCache for cache in make_prompt_cache(model))
        return cls(max_bytes, cuttable)

    @property
    def on(self) -> bool:
        """Whether anything is kept: it was given memory, and nothing failed after its use."""
        return self._max_bytes > 0

    @property
    def reads_in_parts(self) -> bool:
        """Whether prompts are read in parts, each up to a place where the state is to be kept."""
        return self.on and not self._cuttable

    @property
    def nbytes(self) -> int:
        """Memory of what is kept."""
        return self._prefixes.nbytes

    # --- a stream comes ------------------------------------------------------------------------

    def unread(self, stream: Stream) -> int:
        """Return how many tokens of a new stream's prompt will have to be read."""
        ids = stream.ids
        kept = self._prefixes.match(stream.gen.principal, ids).length if self.on else 0
        return len(ids) - kept

    def waits(self, stream: Stream, live: Iterable[Stream]) -> bool:
        """Say whether *stream* should not begin yet: another one is reading its beginning."""
        # Who has begun to wait waits to the end: with small chunks it would begin just before it.
        stream.waits = self.on and self._waits(stream, live, 1 if stream.waits else WORTH_WAITING)
        return stream.waits

    def _waits(self, stream: Stream, live: Iterable[Stream], least: int) -> bool:
        history = stream.ids
        kept: int | None = None
        for other in self._kin(stream, live):
            if other.decoding:
                continue
            shared = min(common_prefix(history, other.ids), len(history) - 1)
            if self._cuttable:
                reached, there = shared, min(shared, other.read)
            else:
                reached = max((cut for cut in other.cuts if cut <= shared), default=0)
                there = 0
            if reached <= other.read or reached - there < least:
                continue
            if kept is None:
                kept = self._prefixes.match(stream.gen.principal, history).length
            if reached - kept >= least:
                return True
        return False

    def find(self, stream: Stream, live: Iterable[Stream], source: Source) -> Found:
        """Return the longest beginning of *stream* that somebody has read already."""
        if not self.on:
            return Found()
        try:
            found = self._find(stream, live, source)
        except Exception:  # noqa: BLE001 - see above
            self._distrust()
            return Found()
        self._unproven |= found.length > 0
        return found

    def _find(self, stream: Stream, live: Iterable[Stream], source: Source) -> Found:
        principal, history = stream.gen.principal, stream.ids
        match = self._prefixes.match(principal, history)
        length, differs_at, best = match.length, match.differs_at, None
        for other in self._kin(stream, live) if self._cuttable else ():
            common = common_prefix(history, other.ids[: other.read])
            differs_at = max(differs_at, common)
            usable = min(common, len(history) - 1)
            # All that the other one has read is copied for it.
            if usable - length >= max(LEAST_HIT, other.read // COPIES_A_TOKEN):
                length, best = usable, other
        if best is not None:
            state, read = source.extract_cache([best.uid])[best.uid]
            length = min(length, common_prefix(history, ids_of(read)))
            entry = self._keep(principal, history[:length], _cut(state, length), Kind.CONVERSATION)
            return Found(copy.deepcopy(entry.state), length, max(differs_at, length))
        if match.entry is None or length < LEAST_HIT:
            return Found(differs_at=differs_at)
        if length >= LEAST_SYSTEM:  # what templates begin with is no use of this entry
            self._prefixes.used(match.entry)
        state = copy.deepcopy(match.entry.state)  # shares the arrays, which nobody writes to
        for cache in state if len(match.entry.tokens) > length else ():
            cache.trim(len(match.entry.tokens) - length)
        return Found(state, length, differs_at)

    def segments(self, stream: Stream, found: Found) -> list[list[int]]:
        """Return what is left to read, in parts that end where the state is to be kept."""
        history = stream.history
        stream.cuts = self._cuts(stream, found)
        edges = [found.length, *stream.cuts, len(history)]
        parts = [history[a:b] for a, b in pairwise(edges)]
        return [part for part in parts if part]

    def _cuts(self, stream: Stream, found: Found) -> list[int]:
        if not self.reads_in_parts or stream.emitted:
            return []
        prepared = stream.prepared
        last = len(prepared.tokens) - 1
        turn = prepared.turn_tokens or last  # mlx-lm stops before the last token anyway
        wanted = {prepared.system_tokens} if prepared.system_tokens >= LEAST_SYSTEM else set()
        if turn >= LEAST_KEPT:
            wanted.add(turn)
        return sorted(cut for cut in wanted if found.length < cut <= last)

    def passed(self, stream: Stream, source: Source) -> None:
        """A part of a prompt has been read; keep the state if it was cut for that."""
        if stream.read not in stream.cuts:
            return
        stream.cuts = [cut for cut in stream.cuts if cut > stream.read]
        try:
            state, read = source.extract_cache([stream.uid])[stream.uid]
            system = len(read) == stream.prepared.system_tokens
            self._keep_once(
                stream.gen.principal,
                ids_of(read),
                state,
                Kind.SYSTEM if system else Kind.CONVERSATION,
            )
        except Exception:  # noqa: BLE001 - see above
            self._distrust()

    # --- a stream leaves -----------------------------------------------------------------------

    def left(self, stream: Stream, source: Source, *, in_company: bool = True) -> None:
        """Take what *stream* has read, before the generator forgets it; to be settled later.

        *in_company*: others of the batch go on. Their caches are copied whole in each step for
        as long as this one's are not copied out of them.
        """
        if not self.on or stream.uid < 0 or not stream.read:
            return
        try:
            state, read = stream.last_state or source.extract_cache([stream.uid])[stream.uid]
        except Exception:  # noqa: BLE001 - see above
            self._distrust()
            return
        if len(read) >= LEAST_KEPT:
            self._left.append((stream, state, list(read)))
            self._in_company |= in_company

    def left_in_pass(self, stream: Stream, source: Source) -> None:
        """Take what *stream* had read before a pass that was given up with all its streams."""
        if not self.on or not self._cuttable or stream.uid < 0:
            return
        try:
            if (found := source.extract_cache([stream.uid]).get(stream.uid)) is None:
                return  # it was between two batches of mlx-lm's
            state, read = found
            # Some layers have taken the tokens of the pass, the last one never has.
            least = min(len(read), *(cache.offset for cache in state))
            for cache in state:
                cache.trim(cache.offset - least)
        except Exception:  # noqa: BLE001 - see above
            self._distrust()
            return
        if least >= LEAST_KEPT:
            self._left.append((stream, state, list(read[:least])))

    @property
    def unsettled(self) -> int:
        """How many streams have left something that is not kept yet."""
        return len(self._left)

    def settle(self) -> None:
        """Keep what streams have left. Copies their caches: call it when reports are out."""
        while self._left:
            self._settle_at(0)
        self._in_company = False

    def settle_some(self) -> None:
        """Keep what has to be kept now: all that running streams are copied for, else one."""
        if self._in_company:
            self.settle()
        elif self._left:
            self._settle_at(0)

    def settle_for(self, stream: Stream) -> None:
        """Keep what the new *stream* can begin with."""
        if not self.on or not self._left:
            return
        principal, ids = stream.gen.principal, stream.ids
        kept = self._prefixes.match(principal, ids).length
        for at in reversed(range(len(self._left))):
            other, _, read = self._left[at]
            if other.gen.principal != principal:
                continue
            common = min(common_prefix(ids, ids_of(read)), len(ids) - 1)
            if common >= max(LEAST_HIT, kept + 1):
                self._settle_at(at)
                kept = common

    def _settle_at(self, at: int) -> None:
        stream, state, read = self._left.pop(at)
        try:
            self._settle(stream, state, ids_of(read))
        except Exception:  # noqa: BLE001 - see above
            self._distrust()

    def _settle(self, stream: Stream, state: State, read: Ids) -> None:
        principal, system = stream.gen.principal, stream.prepared.system_tokens
        self._keep_once(principal, read, state, Kind.CONVERSATION)
        if not self._cuttable or not LEAST_SYSTEM <= system <= len(read):
            return
        if not self._prefixes.covers(principal, read[:system], Kind.SYSTEM, cuttable=True):
            self._keep(principal, read[:system], _cut(state, system), Kind.SYSTEM)

    # --- a step failed or not ------------------------------------------------------------------

    def worked(self) -> None:
        """A step went well."""
        self._unproven = False

    def failed(self) -> None:
        """A step failed: forget everything. Twice right after a use: never use anything again."""
        self._left.clear()
        self._in_company = False
        self._prefixes.clear()
        self._suspected += self._unproven
        self._unproven = False
        if self._suspected == MOST_SUSPECTED:
            sys.stderr.write("engine: steps fail after prefixes were reused; no more of that\n")
            self._max_bytes = 0

    def _distrust(self) -> None:
        traceback.print_exc()
        self._prefixes.clear()

    # --- keeping -------------------------------------------------------------------------------

    def _keep_once(self, principal: str, read: Ids, state: State, kind: Kind) -> None:
        if not self._prefixes.covers(principal, read, kind, cuttable=self._cuttable):
            self._keep(principal, read, state, kind)

    def _keep(self, principal: str, read: Ids, state: State, kind: Kind) -> Entry[State]:
        if self._cuttable and any(cache.offset != len(read) for cache in state):
            raise ValueError("a cache does not hold the tokens it should")
        nbytes = sum(cache.nbytes for cache in state)
        entry = Entry(principal, read.copy(), state, nbytes, kind, self._cuttable)
        if nbytes <= self._max_bytes:
            mx.eval([cache.state for cache in state])  # lazy, it would hold the whole batch
            self._prefixes.put(entry)
        return entry

    @staticmethod
    def _kin(stream: Stream, live: Iterable[Stream]) -> list[Stream]:
        principal = stream.gen.principal
        return [other for other in live if other is not stream and other.gen.principal == principal]


def _cut(state: State, length: int) -> State:
    """Return the first *length* tokens of plain caches, in memory of their own."""
    shorter = []
    for cache in state:
        part: Any = KVCache()  # type: ignore[no-untyped-call]  # mlx-lm's
        part.keys = mx.contiguous(cache.keys[..., :length, :])
        part.values = mx.contiguous(cache.values[..., :length, :])
        part.offset = length
        shorter.append(part)
    mx.eval([part.state for part in shorter])
    return shorter
