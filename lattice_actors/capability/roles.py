"""The role map: what `role:coder` means on this machine.

A JSON object, ``{"coder": ["qwen3-coder", "coder"], "fast": "3b"}``: a role and its preferences,
best first. The first source that exists and parses is the whole map; sources are never merged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from .words import fold

FILE_NAMES = ("lattice_roles.json", "mlx_roles.json", "lmstudio_roles.json")

# Generic words only. Sizes are whole words, so their order here says which size is preferred.
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "coder": ("coder", "code", "codestral", "devstral"),
    "reasoner": ("72b", "70b", "qwen2.5", "llama-3.3", "deepseek-r1", "deepseek", "r1", "thinking"),
    "fast": (
        *("3b", "4b", "7b", "8b", "2b", "1.7b", "1.5b", "1b", "phi", "mini", "small", "tiny"),
        *("0.8b", "0.6b", "0.5b", "500m", "360m", "350m", "270m", "135m", "smol"),
    ),
    "vision": ("vl", "vision", "llava", "pixtral"),
    "default": (),
}


@attrs.frozen
class RoleMap:
    """The roles in force, and where they are from."""

    roles: Mapping[str, tuple[str, ...]]  # folded names
    source: str
    warnings: tuple[str, ...] = ()  # sources that were there but could not be used


def parse_roles(text: str) -> dict[str, tuple[str, ...]]:
    """Return the role map that *text* holds. Names are folded; ``_comment`` keys are no roles.

    Raises:
        ValueError: it is no JSON object of names and texts or lists of texts.
    """
    try:
        loaded = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(loaded, dict):
        raise ValueError("a role map is a JSON object")  # noqa: TRY004 - one error for the caller
    roles: dict[str, tuple[str, ...]] = {}
    # Sorted, so that of "Coder" and "coder" always the same one, the lower-case one, stays.
    for key in sorted(loaded):
        if not key.strip().startswith("_"):
            roles[fold(key)] = _preferences(key, loaded[key])
    return roles


def find_roles(
    json_text: str | None = None,
    file: Path | None = None,
    directories: Sequence[Path] = (),
    table: Sequence[tuple[str, tuple[str, ...]]] = (),
) -> RoleMap:
    """Return the map of the first usable source, in this order.

    *json_text* (`MODEL_ROLES_JSON`), *file* (`MODEL_ROLES_FILE`), *table* (``[roles]`` in
    `lattice.toml`) upon `BUILT_IN`, the first of `FILE_NAMES` in each of *directories* (working
    directory, user configuration directory), `BUILT_IN`. Reads files; never raises for what is in
    them.
    """
    warnings: list[str] = []
    if json_text is not None and json_text.strip():
        try:
            return RoleMap(parse_roles(json_text), "MODEL_ROLES_JSON")
        except ValueError as error:
            warnings.append(f"MODEL_ROLES_JSON: {error}")
    paths = [file] if file is not None else []
    if not table:
        paths += [folder / name for folder in directories for name in FILE_NAMES]
    for path in paths:
        try:
            return RoleMap(parse_roles(path.read_text("utf-8")), str(path), tuple(warnings))
        except FileNotFoundError:
            if path == file:
                warnings.append(f"{path}: no such file")
        except (OSError, ValueError) as error:
            warnings.append(f"{path}: {error}")
    if table:
        named = {fold(role): preferences for role, preferences in table}
        return RoleMap({**BUILT_IN, **named}, "roles", tuple(warnings))
    return RoleMap(BUILT_IN, "built in", tuple(warnings))


def _preferences(key: str, value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ValueError(f"role {key!r} is neither a text nor a list of texts")
    return tuple(item for item in listed if item.strip())
