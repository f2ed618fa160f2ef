"""Which model answers, and why not the others. One pure function.

1. Hard limits make the pool: the kind of model, locality, images, context window.
2. The entries of the spec put the pool in order. Wishes (fast, prefer local) go before that
   order where something is left, and never stand against an exact id.
3. The first in that order that can answer now is the route, the rest are its alternatives.
4. If nothing matches, the miss policy: an announced fallback inside the pool, or nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import attrs

from lattice_actors.catalog.entry import Kind, Standing

from .aliases import meaning
from .preference import TIE_BREAKS, Match, Preferences
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
from .spec import Cloud, Default, Plain, Role
from .words import contains, fold

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
SPEC_SHOWN = 200  # characters of a spec that are repeated to the caller
STRICT = "STRICT_LOADED_MODELS"  # contract 8: the word in an error
_COMPARED = 64  # characters of a spec that are compared with ids to find the nearest


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
    said = f"alias (requested {_quoted(ask.spec)}, meaning {_quoted(spec)})"
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

    def __attrs_post_init__(self) -> None:
        found = {index: self._limit(one) for index, one in enumerate(self.candidates)}
        self.limits = {index: limit for index, limit in found.items() if limit is not None}
        self.pool = [index for index, limit in found.items() if limit is None]

    def answer(self) -> Route | NoRoute:
        if not self.pool:
            return self._empty_pool()
        spec = self.preferences.spec
        if self.preferences.rules.force_default:
            # For those who asked for nothing too: no wish may pass over a default that is forced.
            forced = self.preferences.order(self.preferences.active_default(), self.pool, self.pool)
            if chosen := self._first_available(forced):
                using = self.candidates[chosen.index].id
                text = f"forced_default (requested {self._shown()}, using '{using}')"
                return self._route(chosen, forced, None if spec.placeholder else text)

        if (escalated := self._escalated()) is not None:
            return escalated
        matches = self._matches()
        if self.ask.kind is Kind.EMBEDDING and spec.placeholder:
            matches = matches[:1]  # another model's vectors are no replacement
        if chosen := self._first_available(matches):
            return self._route(chosen, matches, self._passed_over(chosen, matches))
        if matches:
            return self._all_unavailable([match.index for match in matches], self._shown())
        here = [i for i in self.pool if self.candidates[i].locality != "cloud"]
        if not here and self.limits:  # nobody but the cloud, which was not named
            return self._empty_pool()
        if self.may_fall_back and self.preferences.rules.on_miss == "fallback":
            scopes = [*self._soft_scopes(), self.pool]
            anyone = [match for scope in scopes for match in self._in_order(scope)]
            if chosen := self._first_available(anyone):
                text = f"fallback (requested {self._shown()}, {self._miss_reason()})"
                return self._route(chosen, [chosen], text)
            if here:
                return self._all_unavailable(here, "the request")
        return self._miss()

    @property
    def may_fall_back(self) -> bool:
        """A model that was not named may answer; never with vectors, which are its own."""
        return self.ask.allow_fallback and self.ask.kind is not Kind.EMBEDDING

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
            self._considered(chosen, matches),
        )

    def _passed_over(self, chosen: Match, matches: Sequence[Match]) -> str | None:
        """Announce that something else answers than the caller's first choice, which is down."""
        first = matches[0]
        one = self.candidates[first.index]
        if first is chosen or one.id == self.candidates[chosen.index].id:
            return None
        if self.preferences.spec.placeholder or first.group == chosen.group:
            return None
        return f"fallback (requested {self._shown()}, '{one.id}' unavailable)"

    def _miss_reason(self) -> str:
        """Why nothing matches: ``not present``, or the limit that keeps the named model out."""
        preferences = self.preferences
        named = [
            preferences.cloud_id(entry.model) if isinstance(entry, Cloud) else entry.text
            for entry in preferences.spec.entries
            if isinstance(entry, Plain | Cloud)
        ]
        for text in named:
            for index, (constraint, _) in self.limits.items():
                own_name = preferences.own_names[index]
                if constraint == STRICT and contains(text, own_name):
                    return f"not loaded, and excluded by {STRICT}"
                if text in (preferences.names[index], own_name):
                    return f"excluded by {constraint}"
        return "not present"

    def _miss(self) -> NoRoute:
        ids = list(dict.fromkeys(self.candidates[index].id for index in self.pool))
        reason = self._miss_reason()
        parts = [f"no model matches {self._shown()}"]
        if reason != "not present":
            parts = [f"{self._shown()} is {reason}"]
        elif nearest := _nearest(self.ask.spec or "", ids):
            parts.append(f"nearest: {', '.join(nearest)}")
        if any(isinstance(entry, Role) for entry in self.preferences.spec.entries):
            parts.append(f"roles: {', '.join(sorted(self.preferences.rules.roles))}")
        parts.append(f"available: {', '.join(ids)}")
        return NoRoute("; ".join(parts), "model_not_found", considered=self._considered())

    def _empty_pool(self) -> NoRoute:
        if not self.candidates:
            message = "there is no model here; put one into the model folder and scan again"
            return NoRoute(message, "model_not_found")
        found = dict.fromkeys(limit for limit, _ in self.limits.values())
        kind = f"kind={self.ask.kind.value}"
        if list(found) == [kind]:
            message = f"there is no {self.ask.kind.value} model here"
            return NoRoute(message, "model_not_found", considered=self._considered())
        constraints = tuple(limit for limit in found if limit != kind)
        part = self.ask.hints.vision_part if "needs_vision" in constraints else None
        ids = ", ".join(dict.fromkeys(one.id for one in self.candidates))
        return NoRoute(
            f"no model fulfils {', '.join(constraints)}; present: {ids}",
            "no_model_for_constraints",
            part or "model",
            constraints,
            considered=self._considered(),
        )

    def _all_unavailable(self, indexes: Sequence[int], asked: str) -> NoRoute:
        them = [self.candidates[index] for index in indexes]
        known = [one.retry_after_s for one in them if one.retry_after_s is not None]
        reasons = "; ".join(f"{one.id}: {one.unavailable}" for one in them)
        return NoRoute(
            f"every model for {asked} is unavailable ({reasons})",
            "model_unavailable",
            retry_after_s=min(known, default=None),
            considered=self._considered(),
        )

    def _considered(
        self, chosen: Match | None = None, matches: Sequence[Match] = ()
    ) -> tuple[Considered, ...]:
        by_index = {match.index: match for match in matches}
        return tuple(
            Considered(one.id, one.backend, self._fate(index, chosen, by_index.get(index)))
            for index, one in enumerate(self.candidates)
        )

    def _fate(self, index: int, chosen: Match | None, match: Match | None) -> str:
        one = self.candidates[index]
        if index in self.limits:
            return self.limits[index][1]
        if chosen is not None and index == chosen.index:
            return "chosen"
        if one.unavailable is not None:
            return f"unavailable: {one.unavailable}"
        if chosen is None or match is None:
            return f"does not match {self._shown()}"
        better = self.candidates[chosen.index].id
        if match.group != chosen.group:
            return f"matches too, but later than {better}"
        pairs = zip(TIE_BREAKS, chosen.rank, match.rank, strict=True)
        why = next(why for why, mine, theirs in pairs if mine != theirs)
        return f"equal for the caller, but {better} {why}"

    def _shown(self) -> str:
        return _quoted(self.ask.spec)


def _quoted(spec: str | None) -> str:
    text = (spec or "").strip()
    return f"'{text if len(text) <= SPEC_SHOWN else text[:SPEC_SHOWN] + '…'}'"


def _is_fast(one: Candidate) -> bool:
    profile = one.profile
    return profile.latency_tier == "fast" or profile.memory_gb_estimate <= FAST_MEMORY_GB


def _nearest(text: str, ids: Sequence[str]) -> list[str]:
    """Return the three ids that look most like *text*."""
    compared = difflib.SequenceMatcher(b=fold(text)[:_COMPARED], autojunk=False)

    def likeness(name: str) -> float:
        # Without its publisher too: people remember the last part.
        ratios = []
        for form in {fold(name), fold(name).rpartition("/")[2]}:
            compared.set_seq1(form[:_COMPARED])
            ratios.append(compared.ratio())
        return max(ratios)

    return sorted(ids, key=likeness, reverse=True)[:3]
