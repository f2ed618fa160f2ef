"""What a model can do and how it is used by default.

The one rule: built-in defaults, then the file's ``defaults``, then every matching pattern in file
order, then the alias with the model's exact id; later wins, null says nothing. A pattern matches
as a whole word (``4b`` is not in ``4bit``), names are compared without case.

What the model's own files say comes before all guesses, and a profile only ever narrows it: the
context window is the smaller of both, and a local model reads text only, whatever a file says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import attrs

from lattice_actors.catalog.entry import CLOUD, LOCAL, ModelEntry

from .words import fold, has_word

CONTEXT_WINDOW = 131_072  # tokens; only where neither the model nor a profile names one
DEFAULT_MAX_TOKENS = 1024
MAX_TOKENS_CEILING = 16_384
_FAST_BYTES, _MEDIUM_BYTES = 6 * 10**9, 24 * 10**9  # of weights: read once for every token


@attrs.frozen
class Profile:
    """The facts the resolver and the request defaults need of one model."""

    context_window: int = CONTEXT_WINDOW  # tokens, prompt and answer together
    default_max_tokens: int = DEFAULT_MAX_TOKENS
    max_tokens_ceiling: int = MAX_TOKENS_CEILING
    temperature_default: float = 0.7
    top_p_default: float = 0.95
    supports_vision: bool = False
    supports_tools: bool = True  # as the next: of the predecessor's files, and without effect,
    supports_json_mode: bool = False  # since every model here can do both
    latency_tier: str = "medium"  # fast, medium, slow
    memory_gb_estimate: float = 8.0


_TYPES = {name: str(field.type) for name, field in attrs.fields_dict(Profile).items()}
_TIERS = ("fast", "medium", "slow")
_POSITIVE = ("context_window", "default_max_tokens", "max_tokens_ceiling", "memory_gb_estimate")
_RANGES = {"temperature_default": 2.0, "top_p_default": 1.0}  # from 0 to this

Values = Mapping[str, Any]  # keys of Profile, checked by `_values`


@attrs.frozen
class Profiles:
    """A profiles file, ready to be asked about models."""

    file_defaults: Values = attrs.field(factory=dict[str, Any])
    patterns: tuple[tuple[str, Values], ...] = ()  # folded text, in file order
    aliases: Mapping[str, Values] = attrs.field(factory=dict[str, Values])  # folded ids
    default_max_tokens: int = DEFAULT_MAX_TOKENS  # setting: where no profile says otherwise
    max_tokens_ceiling: int = MAX_TOKENS_CEILING  # setting: no profile goes above it

    def of(self, entry: ModelEntry) -> Profile:
        """Return the profile of *entry* by the rule above."""
        name = fold(entry.id)
        said: dict[str, Any] = dict(self.file_defaults)
        said_of_it: dict[str, Any] = {}
        for text, values in self.patterns:
            if has_word(text, name):
                said_of_it |= values
        said_of_it |= self.aliases.get(name, {})
        said |= said_of_it
        if entry.backend == CLOUD:  # its own defaults: some of its models refuse to be told
            said = {"temperature_default": 1.0, "top_p_default": 1.0} | said

        context = min(
            said.get("context_window", entry.context_tokens or CONTEXT_WINDOW),
            entry.context_tokens or said.get("context_window", CONTEXT_WINDOW),
        )
        ceiling = min(said.get("max_tokens_ceiling", self.max_tokens_ceiling), context)
        ceiling = min(ceiling, self.max_tokens_ceiling)
        default = min(said.get("default_max_tokens", self.default_max_tokens), ceiling)
        if entry.weights_bytes:
            said["memory_gb_estimate"] = entry.weights_bytes / 1e9
            said.setdefault("latency_tier", _tier(entry.weights_bytes))
        said["supports_vision"] = entry.backend != LOCAL and said.get(
            "supports_vision", entry.has_vision
        )
        return Profile(
            **said
            | {
                "context_window": context,
                "max_tokens_ceiling": ceiling,
                "default_max_tokens": default,
            }
        )


def parse_profiles(
    text: str,
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
    max_tokens_ceiling: int = MAX_TOKENS_CEILING,
) -> Profiles:
    """Return the profiles in the JSON *text*; keys that are not of a profile are passed over.

    Raises:
        ValueError: it is no profiles file; the message names the place.
    """
    try:
        loaded = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    top = _object(loaded, "a profiles file")
    patterns = [] if top.get("patterns") is None else top["patterns"]
    if not isinstance(patterns, list):
        raise ValueError("patterns: expected a list")  # noqa: TRY004 - one error for the caller
    read: list[tuple[str, Values]] = []
    for index, pattern in enumerate(patterns):
        place = f"patterns[{index}]"
        substring = _object(pattern, place).get("substring")
        if not isinstance(substring, str) or not fold(substring):
            raise ValueError(f"{place}.substring: expected a text")
        read.append((fold(substring), _values(pattern.get("profile"), f"{place}.profile")))
    aliases = _object({} if top.get("aliases") is None else top["aliases"], "aliases")
    return Profiles(
        _values(top.get("defaults"), "defaults"),
        tuple(read),
        {fold(key): _values(aliases[key], f"aliases.{key}") for key in sorted(aliases)},
        default_max_tokens,
        max_tokens_ceiling,
    )


def load_profiles(
    file: Path | None = None,
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
    max_tokens_ceiling: int = MAX_TOKENS_CEILING,
) -> Profiles:
    """Read *file* (`MODEL_PROFILES_FILE`), or the packaged one when None.

    Raises:
        OSError: *file* cannot be read.
        ValueError: it is no profiles file.
    """
    if file is not None:
        text = file.read_text("utf-8")
    else:
        text = resources.files(__package__).joinpath("profiles.json").read_text("utf-8")
    return parse_profiles(text, default_max_tokens, max_tokens_ceiling)


def _tier(weights_bytes: int) -> str:
    if weights_bytes <= _FAST_BYTES:
        return "fast"
    return "medium" if weights_bytes <= _MEDIUM_BYTES else "slow"


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected an object")  # noqa: TRY004 - one error for the caller
    return value


def _values(value: object, place: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, said in _object(value if value is not None else {}, place).items():
        if key in _TYPES and said is not None:
            if not _fits(key, said):
                raise ValueError(f"{place}.{key}: {said!r} is no {_TYPES[key]} in range")
            values[key] = said
    return values


def _fits(key: str, said: object) -> bool:
    if key == "latency_tier":
        return said in _TIERS
    if _TYPES[key] == "bool":
        return isinstance(said, bool)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return False
    if _TYPES[key] == "int" and not isinstance(said, int):
        return False
    return said > 0 if key in _POSITIVE else 0 <= said <= _RANGES[key]
