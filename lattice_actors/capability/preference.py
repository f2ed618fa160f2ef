"""The order in which a spec prefers the models of a pool. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import attrs

from lattice_actors.catalog.entry import CLOUD, Kind

from .question import Ask, Candidate, Rules
from .spec import (
    EMBEDDING_PLACEHOLDERS,
    Cloud,
    Default,
    Entry,
    Pattern,
    Plain,
    Role,
    Spec,
    parse,
    parse_entry,
)
from .words import closeness, contains, fold, in_order

# Why the one of two equal candidates goes first, in the order in which it is looked at.
TIE_BREAKS = (
    "answered this conversation before",
    "is resident",
    "is idle",
    "has the shorter predicted wait",
    "is on a server with less to do",
    "comes first in the inventory",
    "is the replica whose turn it is",
)
Rank = tuple[bool, bool, bool, float, float, int, int]


@attrs.frozen
class Match:
    """A candidate that the spec names. Those of one group are equal for the caller."""

    index: int  # of the candidate
    group: int
    rank: Rank  # inside the group, as in TIE_BREAKS


@attrs.define(slots=False)
class Preferences:
    """Puts candidates into the order of one request."""

    ask: Ask
    candidates: Sequence[Candidate]
    rules: Rules

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The ids, folded, in the order of the candidates."""
        return tuple(fold(candidate.id) for candidate in self.candidates)

    @cached_property
    def own_names(self) -> tuple[str, ...]:
        """The names without the servers: what a part of a name is looked for in."""
        return tuple(fold(candidate.name or candidate.id) for candidate in self.candidates)

    @cached_property
    def replicas(self) -> dict[str, list[int]]:
        """The candidates by the name they share."""
        found: dict[str, list[int]] = {}
        for index, name in enumerate(self.own_names):
            found.setdefault(name, []).append(index)
        return found

    @cached_property
    def known(self) -> frozenset[str]:
        """What is an exact id, with or without its server."""
        return frozenset((*self.names, *self.own_names))

    @cached_property
    def spec(self) -> Spec:
        """What the request asks for."""
        return self.parsed(self.ask.spec)

    def parsed(self, text: str | None) -> Spec:
        """Return what *text* asks for on this server, in a request of this kind."""
        placeholders = frozenset(self.rules.placeholders)
        if self.ask.kind is Kind.EMBEDDING:
            placeholders |= EMBEDDING_PLACEHOLDERS
        return parse(text, placeholders, self.known)

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
                return self._by_part(scope, entry.text, lambda name: contains(entry.text, name))
            case Pattern():
                text = "".join(entry.parts)
                found = self._by_part(scope, text, lambda name: in_order(entry.parts, name))
                return [*self._exact(Plain(text, text), pool), *found] if text else []
            case Role():
                return self._of_role(entry.name, scope)
            case Default():
                return self._of_default(scope)
            case Cloud():
                return self._of_cloud(entry.model, pool)

    def cloud_id(self, model: str) -> str:
        """Return the folded id of a model in the cloud; "" is the configured one."""
        return fold(f"{CLOUD}/{model}" if model else self.rules.cloud_model or "")

    def _of_cloud(self, model: str, pool: Sequence[int]) -> list[list[int]]:
        wanted = self.cloud_id(model)
        found = [i for i in pool if self.names[i] == wanted and self._in_cloud(i)]
        return [found] if found else []

    def _in_cloud(self, index: int) -> bool:
        return self.candidates[index].locality == "cloud"

    def _exact(self, entry: Plain, pool: Sequence[int]) -> list[list[int]]:
        same = [index for index in pool if self.names[index] == entry.text]
        written = [index for index in same if self.candidates[index].id == entry.raw]
        # Not in one group with the ids: a busy local model must not send a prompt elsewhere.
        named = [i for i in pool if self.own_names[i] == entry.text and i not in same]
        return [group for group in (written or same, named) if group]

    def _by_part(
        self, scope: Sequence[int], text: str, fits: Callable[[str], bool]
    ) -> list[list[int]]:
        """Those whose name has the part; a part with a slash may name the server as well."""
        whole = "/" in text
        return self._where(
            scope,
            lambda i: fits(self.own_names[i]) or (whole and fits(self.names[i])),
        )

    def _where(self, scope: Sequence[int], fits: Callable[[int], bool]) -> list[list[int]]:
        """One group for each name that fits (its replicas), the built-in model last.

        None of the cloud: what leaves for there, and costs, is named whole.
        """
        groups: dict[tuple[bool, str, bool], list[int]] = {}
        for index in scope:
            if fits(index) and not self._in_cloud(index):
                one = self.candidates[index]
                key = (one.builtin, one.name or one.id, one.locality == "local")
                groups.setdefault(key, []).append(index)
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
            near = closeness(text, self.own_names[index])
            if near is not None and not self._in_cloud(index):
                groups.setdefault(near, []).append(index)
        return [groups[near] for near in sorted(groups)]

    def _of_default(self, scope: Sequence[int]) -> Iterable[list[int]]:
        # The caller named none of these: a wish such as fast also passes over exact ids here.
        for entry in (*self.active_default(), Role("default")):
            yield from self._groups(entry, scope, scope)
        yield from self._where(scope, lambda index: True)

    def _rank(self, index: int) -> Rank:
        candidate = self.candidates[index]
        replicas = self.replicas[self.own_names[index]]
        turn = (replicas.index(index) - self.ask.turn) % len(replicas)
        if self.ask.kind is Kind.EMBEDDING:
            # Vectors of two models cannot be compared: whoever is resident, the same one answers.
            return (True, True, True, 0.0, 0.0, replicas[0], turn)
        return (
            candidate.id != self.ask.sticky,
            not candidate.resident,
            not candidate.idle,
            candidate.predicted_wait_s,
            candidate.load,
            replicas[0],
            turn,
        )
