"""Why a model answers, and why the others do not: the words of a resolution. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import attrs

from .preference import TIE_BREAKS, Match, Preferences
from .question import Ask, Candidate, Considered, NoRoute
from .spec import Cloud, Plain, Role
from .words import contains, fold

SPEC_SHOWN = 200  # characters of a spec that are repeated to the caller
STRICT = "STRICT_LOADED_MODELS"  # the word in an error, as in Local Lattice
_COMPARED = 64  # characters of a spec that are compared with ids to find the nearest


@attrs.frozen
class Reasons:
    """What there is to say of one question."""

    ask: Ask
    candidates: Sequence[Candidate]
    preferences: Preferences
    limits: Mapping[int, tuple[str, str]]  # by candidate: the constraint that keeps it out, and why
    pool: Sequence[int]  # the candidates without one

    def passed_over(self, chosen: Match, matches: Sequence[Match]) -> str | None:
        """Announce that something else answers than the caller's first choice, which is down."""
        first = matches[0]
        one = self.candidates[first.index]
        if first is chosen or one.id == self.candidates[chosen.index].id:
            return None
        if self.preferences.spec.placeholder or first.group == chosen.group:
            return None
        return f"fallback (requested {self.shown()}, '{one.id}' unavailable)"

    def miss_reason(self) -> str:
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

    def miss(self) -> NoRoute:
        """Return the answer where nothing matches, with what would."""
        ids = list(dict.fromkeys(self.candidates[index].id for index in self.pool))
        reason = self.miss_reason()
        parts = [f"no model matches {self.shown()}"]
        if reason != "not present":
            parts = [f"{self.shown()} is {reason}"]
        elif nearest := _nearest(self.ask.spec or "", ids):
            parts.append(f"nearest: {', '.join(nearest)}")
        if any(isinstance(entry, Role) for entry in self.preferences.spec.entries):
            parts.append(f"roles: {', '.join(sorted(self.preferences.rules.roles))}")
        parts.append(f"available: {', '.join(ids)}")
        return NoRoute("; ".join(parts), "model_not_found", considered=self.considered())

    def empty_pool(self) -> NoRoute:
        """Return the answer where the hard limits leave nobody."""
        if not self.candidates:
            message = "there is no model here; put one into the model folder and scan again"
            return NoRoute(message, "model_not_found")
        found = dict.fromkeys(limit for limit, _ in self.limits.values())
        kind = f"kind={self.ask.kind.value}"
        if list(found) == [kind]:
            message = f"there is no {self.ask.kind.value} model here"
            return NoRoute(message, "model_not_found", considered=self.considered())
        constraints = tuple(limit for limit in found if limit != kind)
        part = self.ask.hints.vision_part if "needs_vision" in constraints else None
        ids = ", ".join(dict.fromkeys(one.id for one in self.candidates))
        return NoRoute(
            f"no model fulfils {', '.join(constraints)}; present: {ids}",
            "no_model_for_constraints",
            part or "model",
            constraints,
            considered=self.considered(),
        )

    def all_unavailable(self, indexes: Sequence[int], asked: str) -> NoRoute:
        """Return the answer where who matches *asked* cannot answer now."""
        them = [self.candidates[index] for index in indexes]
        known = [one.retry_after_s for one in them if one.retry_after_s is not None]
        reasons = "; ".join(f"{one.id}: {one.unavailable}" for one in them)
        return NoRoute(
            f"every model for {asked} is unavailable ({reasons})",
            "model_unavailable",
            retry_after_s=min(known, default=None),
            considered=self.considered(),
        )

    def considered(
        self, chosen: Match | None = None, matches: Sequence[Match] = ()
    ) -> tuple[Considered, ...]:
        """Return every candidate with the reason it was chosen, or lost."""
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
            return f"does not match {self.shown()}"
        better = self.candidates[chosen.index].id
        if match.group != chosen.group:
            return f"matches too, but later than {better}"
        pairs = zip(TIE_BREAKS, chosen.rank, match.rank, strict=True)
        why = next(why for why, mine, theirs in pairs if mine != theirs)
        return f"equal for the caller, but {better} {why}"

    def shown(self) -> str:
        """Return the spec as the caller is told of it."""
        return quoted(self.ask.spec)


def quoted(spec: str | None) -> str:
    """Return a spec as it stands in what a caller is told: in quotes, and not endless."""
    text = (spec or "").strip()
    return f"'{text if len(text) <= SPEC_SHOWN else text[:SPEC_SHOWN] + '…'}'"


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
