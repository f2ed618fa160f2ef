"""Which model answers, and why not the others. One function. Pure.

1. Hard limits make the pool: the kind of model, locality, images, context window.
2. The entries of the spec put the pool in order. Wishes (fast, prefer local) go before that
   order where something is left, and never stand against an exact id.
3. The first in that order that can answer now is the route, the rest are its alternatives.
4. If nothing matches, the miss policy: an announced fallback inside the pool, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from lattice_actors.catalog.entry import Kind, Standing

from .aliases import meaning
from .preference import Match, Preferences
from .question import (
    Ask,
    Bound,
    Candidate,
    Considered,
    Locality,
    NoRoute,
    Route,
    Rules,
)
from .reasons import STRICT, Reasons, quoted
from .spec import Cloud, Default, Role
from .words import fold

__all__ = [
    "Ask",
    "Bound",
    "Candidate",
    "Considered",
    "Locality",
    "NoRoute",
    "Route",
    "Rules",
    "resolve",
]

FAST_MEMORY_GB = 10.0  # up to here a model counts as fast, whatever its profile says


def resolve(ask: Ask, candidates: Sequence[Candidate], rules: Rules) -> Route | NoRoute:
    """Return the model for *ask*. *candidates* come in inventory order. Never raises."""
    # A default that is forced answers whatever is named.
    aliases = () if rules.force_default else rules.aliases
    known = {fold(one.id) for one in candidates} if aliases else ()
    spec = meaning(ask.spec, aliases, known)
    if spec is None:
        return _Question(ask, candidates, Preferences(ask, candidates, rules)).answer()
    meant = attrs.evolve(ask, spec=spec)
    answer = _Question(meant, candidates, Preferences(meant, candidates, rules)).answer()
    said = f"alias (requested {quoted(ask.spec)}, meaning {quoted(spec)})"
    if isinstance(answer, NoRoute):
        return attrs.evolve(answer, message=f"{said}: {answer.message}")
    more = f"; {answer.resolution}" if answer.resolution else ""
    return attrs.evolve(answer, resolution=said + more)


@attrs.define
class _Question:
    ask: Ask
    candidates: Sequence[Candidate]
    preferences: Preferences
    limits: dict[int, tuple[str, str]] = attrs.field(init=False)  # constraint and reason
    pool: list[int] = attrs.field(init=False)
    reasons: Reasons = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        found = {index: self._limit(one) for index, one in enumerate(self.candidates)}
        self.limits = {index: limit for index, limit in found.items() if limit is not None}
        self.pool = [index for index, limit in found.items() if limit is None]
        self.reasons = Reasons(self.ask, self.candidates, self.preferences, self.limits, self.pool)

    def answer(self) -> Route | NoRoute:
        if not self.pool:
            return self.reasons.empty_pool()
        spec = self.preferences.spec
        if self.preferences.rules.force_default:
            # For those who asked for nothing too: no wish may pass over a default that is forced.
            forced = self.preferences.order(self.preferences.active_default(), self.pool, self.pool)
            if chosen := self._first_available(forced):
                using = self.candidates[chosen.index].id
                text = f"forced_default (requested {self.reasons.shown()}, using '{using}')"
                return self._route(chosen, forced, None if spec.placeholder else text)

        if (escalated := self._escalated()) is not None:
            return escalated
        matches = self._matches()
        if self.ask.kind is Kind.EMBEDDING and spec.placeholder:
            matches = self._replicas_of_first(matches)
        if chosen := self._first_available(matches):
            return self._route(chosen, matches, self.reasons.passed_over(chosen, matches))
        if matches:
            return self.reasons.all_unavailable(
                [match.index for match in matches], self.reasons.shown()
            )
        here = [i for i in self.pool if self.candidates[i].locality != "cloud"]
        if not here and self.limits:  # nobody but the cloud, which was not named
            return self.reasons.empty_pool()
        if self.may_fall_back and self.preferences.rules.on_miss == "fallback":
            scopes = [*self._soft_scopes(), self.pool]
            anyone = [match for scope in scopes for match in self._in_order(scope)]
            if chosen := self._first_available(anyone):
                text = f"fallback (requested {self.reasons.shown()}, {self.reasons.miss_reason()})"
                return self._route(chosen, [chosen], text)
            if here:
                return self.reasons.all_unavailable(here, "the request")
        return self.reasons.miss()

    @property
    def may_fall_back(self) -> bool:
        """A model that was not named may answer; never with vectors, which are its own."""
        return self.ask.allow_fallback and self.ask.kind is not Kind.EMBEDDING

    def _replicas_of_first(self, matches: list[Match]) -> list[Match]:
        """The first one and its replicas: other models' vectors are no replacement."""
        if not matches or self.candidates[matches[0].index].locality == "local":
            return matches[:1]
        names = self.preferences.own_names
        return [match for match in matches if names[match.index] == names[matches[0].index]]

    def _escalated(self) -> Route | None:
        """The cloud's configured model, where that is wished and the caller named no model."""
        why = self.ask.escalate
        named_none = all(isinstance(e, Role | Default) for e in self.preferences.spec.entries)
        if why is None or not named_none or self.ask.bound != "any":
            return None
        matches = self.preferences.order((Cloud(""),), self.pool, self.pool)
        chosen = self._first_available(matches)
        if chosen is None:
            return None
        # With all that would answer without it: they do if it fails.
        others = [attrs.evolve(match, group=match.group + 1) for match in self._matches()]
        return self._route(chosen, [*matches, *others], f"escalated ({why})")

    # --- the pool ------------------------------------------------------------------------------

    def _limit(self, one: Candidate) -> tuple[str, str] | None:
        ask = self.ask
        if one.kind is not ask.kind:
            return f"kind={ask.kind.value}", f"is for {one.kind.value}, not for {ask.kind.value}"
        if one.standing is Standing.CLOSED:
            return STRICT, "is not loaded, and only loaded models may be chosen"
        if ask.bound == "local-only" and one.locality != "local":
            return "locality=local-only", f"is {one.locality}, and only local models are allowed"
        if ask.hints.needs_vision and not one.profile.supports_vision:
            return "needs_vision", "takes no images"
        wanted = ask.hints.min_context_window
        if wanted is not None and one.profile.context_window < wanted:
            has = one.profile.context_window
            return f"min_context_window>={wanted}", f"has a context of {has} tokens only"
        return None

    def _soft_scopes(self) -> list[list[int]]:
        """The pool narrowed by the wishes, as far as something is left."""
        scope = self.pool
        wishes: list[Callable[[Candidate], bool]] = []
        if self.ask.bound == "prefer-local":
            wishes.append(lambda one: one.locality == "local")
        if self.ask.hints.prefers_fast:
            wishes.append(_is_fast)
        for wish in wishes:
            scope = [index for index in scope if wish(self.candidates[index])] or scope
        return [scope] if len(scope) < len(self.pool) else []

    # --- the order -----------------------------------------------------------------------------

    def _matches(self) -> list[Match]:
        entries = self.preferences.spec.entries
        found: dict[int, Match] = {}
        for pool in self._pools():
            for scope in (*self._soft_scopes(), self.pool):
                offset = len(found) * (len(self.candidates) + 1)  # groups of two scopes never meet
                here = [index for index in scope if index in pool]
                for match in self.preferences.order(entries, here, [*pool]):
                    found.setdefault(match.index, attrs.evolve(match, group=match.group + offset))
        return list(found.values())

    def _pools(self) -> list[dict[int, None]]:
        """The pool, and in front of it the part of it that no server has to load first."""
        awake = [i for i in self.pool if self.candidates[i].standing is not Standing.ASLEEP]
        parts = [self.pool] if len(awake) in (0, len(self.pool)) else [awake, self.pool]
        return [dict.fromkeys(part) for part in parts]

    def _in_order(self, scope: list[int]) -> list[Match]:
        """All of *scope* in inventory order, the built-in model last."""
        order = sorted(
            (index for index in scope if self.candidates[index].locality != "cloud"),
            key=lambda index: (
                self.candidates[index].standing is Standing.ASLEEP,
                self.candidates[index].builtin,
                index,
            ),
        )
        return [
            Match(index, at, (True, True, True, 0.0, 0.0, index, 0))
            for at, index in enumerate(order)
        ]

    def _first_available(self, matches: Sequence[Match]) -> Match | None:
        can = (one for one in matches if self.candidates[one.index].unavailable is None)
        return next(can, None)

    # --- the answers ---------------------------------------------------------------------------

    def _route(self, chosen: Match, matches: Sequence[Match], text: str | None) -> Route:
        one = self.candidates[chosen.index]
        others = (self.candidates[match.index] for match in matches if match is not chosen)
        return Route(
            one.id,
            one.backend,
            text,
            # By id, since replicas share one: an alternative is another model.
            tuple(dict.fromkeys(o.id for o in others if o.unavailable is None and o.id != one.id)),
            self.reasons.considered(chosen, matches),
        )


def _is_fast(one: Candidate) -> bool:
    profile = one.profile
    return profile.latency_tier == "fast" or profile.memory_gb_estimate <= FAST_MEMORY_GB
