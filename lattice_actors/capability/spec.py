"""What the `model` field of a request says, before anybody looks at which models exist. Pure.

    model := absent | placeholder | entry ("," entry)*     "+" may stand for ","
    entry := "role:" name | text with "*" | cloud | plain text
    cloud := "anthropic" [(":" | "/" | "-") model]         last entry also "auto" or "default"

A whole list entry that is the exact id of a model means that model, whatever signs are in it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from typing import TypeAlias

import attrs

from .words import fold

MAX_ENTRIES = 64  # a longer list is no preference; what follows is not looked at
MAX_CHARACTERS = 16_384  # the same for text: bounds the work a caller can cause

BUILT_IN_PLACEHOLDERS = frozenset(
    {
        "",
        "auto",
        "default",
        "gpt-3.5-turbo",
        "gpt-4",
        "gpt-4o",
        "gpt-4-turbo",
        "gpt-4.1",
        "claude-3-5-sonnet",
        "claude-3-opus",
    }
)
LEGACY_PLACEHOLDERS = frozenset(
    {
        "middlelayer",
        "middle-layer",
        "middle_layer",
        "mlxmiddlelayer",
        "mlx-middle-layer",
        "mlx_middle_layer",
        "mlx",
        "lmstudio",
        "openclaw",
    }
)
EMBEDDING_PLACEHOLDERS = frozenset(  # names of OpenAI's that tools have built in
    {"text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"}
)
_LAST = frozenset({"auto", "default"})
_CLOUD = re.compile(r"anthropic(?:[:/-]\s*(\S.*))?", re.DOTALL)


@attrs.frozen
class Role:
    """An entry of the role map."""

    name: str


@attrs.frozen
class Pattern:
    """Text with stars: every part, each after the one before. No parts match nothing."""

    parts: tuple[str, ...]


@attrs.frozen
class Plain:
    """An exact id, or a part of one."""

    text: str
    raw: str = attrs.field(default="", eq=False)  # as written: decides between ids equal but case


@attrs.frozen
class Default:
    """Whatever the server takes when nothing is asked for."""


@attrs.frozen
class Cloud:
    """A model in the cloud; "" is the configured one. Never another than the one named."""

    model: str


Entry: TypeAlias = Role | Pattern | Plain | Default | Cloud


@attrs.frozen
class Spec:
    """The parsed field: entries in the order of preference, all of their text folded."""

    entries: tuple[Entry, ...]
    placeholder: bool  # nothing in particular was asked for


def placeholders(extra: str | None) -> frozenset[str]:
    """Return the names that ask for nothing in particular.

    *extra* is a comma list that is added; None (never set) adds a legacy set.
    """
    if extra is None:
        return BUILT_IN_PLACEHOLDERS | LEGACY_PLACEHOLDERS
    return BUILT_IN_PLACEHOLDERS | {fold(name) for name in extra.split(",")}


def parse(
    model: str | None,
    placeholders: Collection[str] = BUILT_IN_PLACEHOLDERS,
    known: Collection[str] = (),
) -> Spec:
    """Return what *model* asks for. Never raises; no text is invalid, it may just match nothing.

    *known* are the folded ids that exist. An exact id beats everything, also a placeholder, and
    is not cut at a comma or plus inside it.
    """
    text = (model or "").strip()[:MAX_CHARACTERS]
    folded = fold(text)
    if folded in known:
        return Spec((Plain(folded, text),), placeholder=False)
    if folded in placeholders:
        return Spec((Default(),), placeholder=True)
    pieces = [piece for piece in _pieces(text, known) if piece.strip()]
    entries: list[Entry] = [
        Plain(fold(piece), piece.strip()) if fold(piece) in known else parse_entry(piece)
        for piece in pieces
    ]
    if pieces and fold(pieces[-1]) in _LAST and fold(pieces[-1]) not in known:
        entries[-1] = Default()
    distinct = tuple(dict.fromkeys(entries))[:MAX_ENTRIES]
    return Spec(distinct, placeholder=distinct == (Default(),))


def parse_entry(text: str) -> Role | Pattern | Plain | Cloud:
    """Return one entry of a list. `auto` and `default` are not special here."""
    folded = fold(text)
    if folded.startswith("role:"):
        return Role(folded.removeprefix("role:").strip())
    if "*" in folded:
        return Pattern(tuple(part for part in folded.split("*") if part))
    if found := _CLOUD.fullmatch(folded):
        return Cloud(found[1] or "")
    return Plain(folded, text.strip())


def _pieces(text: str, known: Collection[str]) -> list[str]:
    pieces: list[str] = []
    for piece in text.split(","):
        pieces += [piece] if fold(piece) in known else piece.split("+")
    return pieces


# --- swarm meta-models ------------------------------------------------------------------------


class Intent(enum.Enum):
    """Which kind of swarm a name asks for."""

    COUNCIL = "council"
    FANOUT = "fanout"
    PIPELINE = "pipeline"


@attrs.frozen
class MetaModel:
    """A name that asks for a swarm instead of a model."""

    intent: Intent
    canonical: str
    deprecated: bool = False


META_MODELS = {
    "swarmcouncil": MetaModel(Intent.COUNCIL, "swarmCouncil"),
    "swarmvote": MetaModel(Intent.COUNCIL, "swarmCouncil"),
    "swarm/vote": MetaModel(Intent.COUNCIL, "swarmCouncil"),
    "swarmintelligence": MetaModel(Intent.COUNCIL, "swarmCouncil", deprecated=True),
    "swarm/fanout": MetaModel(Intent.FANOUT, "swarm/fanout"),
    "swarm/pipeline": MetaModel(Intent.PIPELINE, "swarm/pipeline"),
}


def meta_model(name: str | None) -> MetaModel | None:
    """Return the swarm that *name* asks for: the whole text only, never a part of it.

    Callers look here before they `parse`.
    """
    return META_MODELS.get(fold(name)) if name is not None else None
