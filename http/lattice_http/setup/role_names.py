"""Which roles a model suits, going by its name alone. Pure.

coder, vision, reasoner and fast are looked for one by one, so a model may be in several; one that
is in none is in `default`. A stated size counts for more than a word: mistral-small-24b is no
fast model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from lattice_actors.capability.words import fold

FAST_MOST_BILLIONS = 9.0
REASONER_LEAST_BILLIONS = 70.0
DEFAULTS_IF_NONE = 3  # ids in `default` where every model has a role of its own
MOST_PER_ROLE = 12  # a server may list hundreds; beyond this nobody reads or misses them

ROLES = ("default", "coder", "reasoner", "fast", "vision")

_BEFORE = r"(?<![^\W_])"  # no letter or digit: "phi" in "dolphin" is an accident
_AFTER = r"(?![^\W_])"
# "1.7b", "135m", "e4b" (effective); neither "3bit" nor the 7b of "8x7b", nor the 7b of "1.7b".
_SIZE = re.compile(rf"{_BEFORE}(?<!\d\.)e?(\d+(?:\.\d+)?)(b|m){_AFTER}")
_LEAST_MILLIONS = 10.0  # below it "1m" is the length of a context

_CODER = re.compile(rf"coder|codestral|devstral|codellama|codegemma|{_BEFORE}code{_AFTER}")
_VISION = re.compile(
    rf"(?:{_BEFORE}|(?<=\d))vl{_AFTER}|vlm|{_BEFORE}vision|llava|pixtral|moondream"
    rf"|{_BEFORE}gemma-?4{_AFTER}|{_BEFORE}minicpm-v{_AFTER}"
)
_REASONER = re.compile(
    rf"{_BEFORE}reason|{_BEFORE}thinking{_AFTER}|{_BEFORE}r1{_AFTER}|nemotron|magistral"
    rf"|{_BEFORE}qwq{_AFTER}"
)
_FAST = re.compile(
    rf"{_BEFORE}(?:mini|small|tiny|nano){_AFTER}|{_BEFORE}phi(?:{_AFTER}|(?=\d))|{_BEFORE}smol"
)
# What these names say is not a chat, whatever their server lists them as.
_NO_CHAT = re.compile(rf"{_BEFORE}(?:whisper|tts|asr|rerank(?:er)?|bge|embed(?:dings?)?){_AFTER}")


@attrs.frozen
class Candidate:
    """A model that may get a role."""

    id: str  # what clients would write, "ollama/qwen2.5-coder:7b"
    name: str = ""  # what is read; "": the id
    loaded: bool = False  # in its server's memory now: it goes first


def roles_of(name: str) -> frozenset[str]:
    """Return the roles that the name of a model says, without `default`."""
    text = fold(name).rsplit("/", 1)[-1]  # publishers have names, too
    billions = _billions(text)
    found = set()
    if _CODER.search(text):
        found.add("coder")
    if _VISION.search(text):
        found.add("vision")
    if _REASONER.search(text) or (billions or 0.0) >= REASONER_LEAST_BILLIONS:
        found.add("reasoner")
    if billions <= FAST_MOST_BILLIONS if billions is not None else _FAST.search(text):
        found.add("fast")
    return frozenset(found)


def propose(candidates: Iterable[Candidate]) -> Mapping[str, tuple[str, ...]]:
    """Return the ids of each role that has any, in the order of `ROLES`: loaded ones first."""
    ordered = sorted(
        {one.id: one for one in candidates if _can_be_named(one)}.values(),
        key=lambda one: (not one.loaded, fold(one.id), one.id),
    )
    roles: dict[str, list[str]] = {role: [] for role in ROLES}
    for one in ordered:
        for role in roles_of(one.name or one.id) or {"default"}:
            roles[role].append(one.id)
    if not roles["default"]:
        roles["default"] = [one.id for one in ordered[:DEFAULTS_IF_NONE]]
    return {role: tuple(ids[:MOST_PER_ROLE]) for role, ids in roles.items() if ids}


def _can_be_named(one: Candidate) -> bool:
    """Whether a role can mean it: an id with a star or a comma would be read as something else."""
    name = fold(one.name or one.id).rsplit("/", 1)[-1]
    return one.id.isprintable() and not set(one.id) & {"*", ","} and not _NO_CHAT.search(name)


def _billions(text: str) -> float | None:
    """Return the largest size in the folded name."""
    sizes = [(float(number), unit) for number, unit in _SIZE.findall(text)]
    found = [number for number, unit in sizes if unit == "b"]
    found += [number / 1000 for number, unit in sizes if unit == "m" and number >= _LEAST_MILLIONS]
    return max(found, default=None)
