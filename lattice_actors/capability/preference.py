"""The order in which a spec prefers the models of a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import attrs

from .question import Ask, Candidate, Rules
from .spec import Default, Entry, Pattern, Plain, Role, Spec, parse, parse_entry
from .words import closeness, contains, fold, in_order

# Why the one of two equal candidates goes first, in the order in which it is looked at.
TIE_BREAKS = (
    "answered this conversation before",
    "is resident",
    "is idle",
    "has the shorter predicted wait",
    "comes first in the inventory",
)


@attrs.frozen
class Match:
    """A candidate that the spec names. Those of one group are equal for the caller."""

    index: int  # of the candidate
    group: int
    rank: tuple[bool, bool, bool, float, int]  # inside the group, as in TIE_BREAKS


@attrs.define(slots=False)
class Preferences:
    """Puts candidates into the order of one request."""

    ask: Ask
    candidates: Sequence[Candidate]
    rules: Rules

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(fold(candidate.id) for candidate in self.candidates)

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def spec(self) -> Spec:
        return self.parsed(self.ask.spec)

    def parsed(self, text: str | None) -> Spec:
        return parse(text, self.rules.placeholders, self.known)

    def active_default(self) -> tuple[Entry, ...]:
        """The runtime default, then the setting; one that is not set or `auto` is left out."""
        settings = (self.rules.runtime_default, self.rules.default_model)
        specs = [self.parsed(text) for text in settings if text is not None]
        return tuple(
            entry
            for spec in specs
            if not spec.placeholder
            for entry in spec.entries
            if not isinstance(entry, Default)
        )

    def order(
        self, entries: Iterable[Entry], scope: Sequence[int], pool: Sequence[int]
    ) -> list[Match]:
        """Return the candidates that *entries* name, best first, each once.

        Exact ids are looked for in the *pool*, everything else in the *scope*, a part of it.
        """
        matches: dict[int, Match] = {}
        number = 0
        for entry in entries:
            for group in self._groups(entry, scope, pool):
                for index in sorted(group, key=self._rank):
                    matches.setdefault(index, Match(index, number, self._rank(index)))
                number += 1
        return list(matches.values())

    def _groups(
        self, entry: Entry, scope: Sequence[int], pool: Sequence[int]
    ) -> Iterable[list[int]]:
        match entry:
            case Plain():
                if entry.text in self.known:
                    return self._exact(entry, pool)
                return self._by_id(scope, lambda name: contains(entry.text, name))
            case Pattern():
                text = "".join(entry.parts)
                found = self._by_id(scope, lambda name: in_order(entry.parts, name))
                return [*self._exact(Plain(text, text), pool), *found] if text else []
            case Role():
                return self._of_role(entry.name, scope)
            case Default():
                return self._of_default(scope)

    def _exact(self, entry: Plain, pool: Sequence[int]) -> list[list[int]]:
        same = [index for index in pool if self.names[index] == entry.text]
        written = [index for index in same if self.candidates[index].id == entry.raw]
        return [group for group in (written or same,) if group]

    def _by_id(self, scope: Sequence[int], fits: Callable[[str], bool]) -> list[list[int]]:
        """One group for each id that fits (its replicas), the built-in model last."""
        groups: dict[tuple[bool, str], list[int]] = {}
        for index in scope:
            if fits(self.names[index]):
                candidate = self.candidates[index]
                groups.setdefault((candidate.builtin, candidate.id), []).append(index)
        return [groups[key] for key in sorted(groups, key=lambda key: key[0])]

    def _of_role(self, name: str, scope: Sequence[int]) -> Iterable[list[int]]:
        """The matches of each preference; the user's own models of all of them come first."""
        preferences = [parse_entry(text) for text in self.rules.roles.get(name, ())]
        for builtin in (False, True):
            here = [index for index in scope if self.candidates[index].builtin is builtin]
            for preference in preferences:
                if isinstance(preference, Plain) and preference.text not in self.known:
                    yield from self._by_closeness(preference.text, here)
                elif not isinstance(preference, Role):  # roles do not nest
                    groups = self._groups(preference, here, here)
                    yield [index for group in groups for index in group]

    def _by_closeness(self, text: str, scope: Sequence[int]) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index in scope:
            near = closeness(text, self.names[index])
            if near is not None:
                groups.setdefault(near, []).append(index)
        return [groups[near] for near in sorted(groups)]

    def _of_default(self, scope: Sequence[int]) -> Iterable[list[int]]:
        # The caller named none of these: a wish such as fast also passes over exact ids here.
        for entry in (*self.active_default(), Role("default")):
            yield from self._groups(entry, scope, scope)
        yield from self._by_id(scope, lambda name: True)

    def _rank(self, index: int) -> tuple[bool, bool, bool, float, int]:
        candidate = self.candidates[index]
        return (
            candidate.id != self.ask.sticky,
            not candidate.resident,
            not candidate.idle,
            candidate.predicted_wait_s,
            index,
        )
