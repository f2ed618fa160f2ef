"""What is kept of prompts and answers, so that the next request need not read them again. Pure.

An entry is a row of tokens and the model's state after them, of one principal: nobody finds what
another one's requests left. There are two kinds. *System* entries are what many conversations
begin with; *conversation* entries are whole turns. Each kind goes least recently used first. A
conversation goes before a system prompt, unless system prompts hold more than their share.

mlx-lm has `LRUPromptCache` for this. It is not used: its search copies a list at every token
below the point of difference (0.4 s of the engine's thread for a kept conversation of 8,000
tokens, 3.2 s for 30,000), a hit does not count as a use, a longer conversation removes the
system prompt it begins with, and an exact hit hides the shorter entry that a cache which cannot
be cut back needs.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
State = TypeVar("State")

MOST_ENTRIES = 256  # each costs a look-up some microseconds
SYSTEM_SHARE = 0.5  # of the bytes: beyond it system prompts give way first


class Kind(enum.Enum):
    """What an entry is the state after."""

    SYSTEM = "system"
    CONVERSATION = "conversation"


@attrs.frozen(eq=False)
class Entry(Generic[State]):
    """The state of a model after *tokens*. *cuttable*: it can also serve any shorter prefix."""

    principal: str
    tokens: Ids
    state: State
    nbytes: int
    kind: Kind
    cuttable: bool


@attrs.frozen(eq=False)
class Match(Generic[State]):
    """The best that is kept for a prompt."""

    entry: Entry[State] | None  # None: nothing can be used
    length: int  # tokens of the prompt that need not be read; always fewer than it has
    differs_at: int  # index of the first token that differs from everything kept


def ids_of(tokens: Sequence[int]) -> Ids:
    """Return tokens in the form that is compared here."""
    return np.asarray(tokens, dtype=np.int32)


def common_prefix(one: Ids, other: Ids) -> int:
    """Return how many tokens both begin with."""
    shorter = min(len(one), len(other))
    differs = one[:shorter] != other[:shorter]
    first = int(differs.argmax()) if shorter else 0
    return first if shorter and differs[first] else shorter


@attrs.define(eq=False)
class Prefixes(Generic[State]):
    """The entries, never more than *max_bytes* of them together."""

    max_bytes: int
    nbytes: int = attrs.field(init=False, default=0)
    # In the order of their last use, the oldest first.
    _entries: dict[int, Entry[State]] = attrs.field(init=False, factory=dict[int, Entry[State]])
    _uses: int = attrs.field(init=False, default=0)

    def __repr__(self) -> str:
        return f"<Prefixes {len(self)} entries, {self.nbytes}/{self.max_bytes} bytes>"

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, principal: str, tokens: Ids) -> Match[State]:
        """Return what is kept of the beginning of *tokens*; nothing changes by looking.

        The last token is always left to be read: its logits make the first new one.
        """
        best: Entry[State] | None = None
        length = differs_at = 0
        for entry in self._entries.values():
            if entry.principal != principal:
                continue
            common = common_prefix(entry.tokens, tokens)
            differs_at = max(differs_at, common)
            if not entry.cuttable and common < len(entry.tokens):
                continue
            usable = min(common, len(tokens) - 1)
            # Of equals the one used last: what is seldom used shall be able to go.
            if usable >= max(1, length) and (entry.cuttable or usable == len(entry.tokens)):
                best, length = entry, usable
        return Match(best, length, differs_at)

    def used(self, entry: Entry[State]) -> None:
        """An entry has served a request: the others of its kind go before it."""
        for use, kept in self._entries.items():
            if kept is entry:
                del self._entries[use]
                self._append(kept)
                return

    def covers(self, principal: str, tokens: Ids, kind: Kind, *, cuttable: bool) -> bool:
        """Say whether an entry like this would add nothing; if so, what there is counts as used."""
        for entry in list(self._entries.values()):
            if entry.principal != principal or len(entry.tokens) < len(tokens):
                continue
            if kind is Kind.SYSTEM and entry.kind is not Kind.SYSTEM:
                continue  # it goes earlier than a system prompt should
            same_length = len(entry.tokens) == len(tokens)
            if (same_length or (entry.cuttable and cuttable)) and (
                common_prefix(entry.tokens, tokens) == len(tokens)
            ):
                self.used(entry)
                return True
        return False

    def put(self, entry: Entry[State]) -> bool:
        """Keep *entry*, and let go what must go for it. False: it is larger than the cache."""
        if entry.nbytes > self.max_bytes:
            return False
        for use, kept in list(self._entries.items()):
            if self._replaces(entry, kept):
                self._remove(use)
        while self.nbytes + entry.nbytes > self.max_bytes or len(self) >= MOST_ENTRIES:
            self._remove(self._next_to_go())
        self._append(entry)
        self.nbytes += entry.nbytes
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.nbytes = 0

    @staticmethod
    def _replaces(new: Entry[State], kept: Entry[State]) -> bool:
        """Whether *kept* is the same, or a turn that *new* goes on from and can serve itself."""
        if new.principal != kept.principal or len(kept.tokens) > len(new.tokens):
            return False
        same_length = len(kept.tokens) == len(new.tokens)
        if not same_length and not (new.cuttable and kept.kind is Kind.CONVERSATION):
            return False
        return common_prefix(new.tokens, kept.tokens) == len(kept.tokens)

    def _next_to_go(self) -> int:
        system = [use for use, entry in self._entries.items() if entry.kind is Kind.SYSTEM]
        if system:
            held = sum(self._entries[use].nbytes for use in system)
            if held > SYSTEM_SHARE * self.max_bytes or len(system) == len(self._entries):
                return system[0]
        kept = set(system)
        return next(use for use in self._entries if use not in kept)

    def _append(self, entry: Entry[State]) -> None:
        self._uses += 1
        self._entries[self._uses] = entry

    def _remove(self, use: int) -> None:
        self.nbytes -= self._entries.pop(use).nbytes
