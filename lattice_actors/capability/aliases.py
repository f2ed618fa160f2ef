"""Names that tools have built in, and what they mean here. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

from .words import fold, in_order

Aliases: TypeAlias = Sequence[tuple[str, str]]  # a name, or a text with stars, and its spec


def meaning(model: str | None, aliases: Aliases, known: Collection[str]) -> str | None:
    """Return the spec that *model*, the whole field, stands for; None: no alias.

    *known* are the folded ids that exist: a model of that name is no alias. An exact alias goes
    before those with stars, these count in their order. What it returns is no alias again.
    """
    name = fold(model or "")
    if not aliases or name in known:
        return None
    exact = (spec for alias, spec in aliases if fold(alias) == name)
    return next(exact, None) or next(
        (spec for alias, spec in aliases if "*" in alias and _fits(fold(alias), name)), None
    )


def _fits(pattern: str, name: str) -> bool:
    """Stars stand for any text, also none; the pattern describes the whole name.

    Looked for part by part: a regular expression goes back over every star, and a caller who
    writes a long name would hold up everybody.
    """
    first, *middle, last = pattern.split("*")
    if len(name) < len(first) + len(last):
        return False
    if not (name.startswith(first) and name.endswith(last)):
        return False
    return not middle or in_order(tuple(middle), name[len(first) : len(name) - len(last)])
