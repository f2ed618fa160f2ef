"""From flags, environment and file to `Settings`, with the origin of each value. Pure.

    flag > LATTICE_* > alias > lattice.toml > default of the profile > default

An empty variable counts as not set, except for a list, where it is the empty list: that is what
``EXTRA_PLACEHOLDER_MODELS=`` has always meant.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from .definition import SETTINGS, Settings
from .fields import Kind, Setting
from .front import default_cache_dir
from .predecessor import NO_EFFECT
from .tiers import TIERS
from .upstreams import LM_STUDIO
from .values import Raw, WrongValue

# Variables of the scripts that share the prefix and are no settings.
NOT_SETTINGS = frozenset({"LATTICE_CI", "LATTICE_VENV"})


class SettingsError(Exception):
    """One line for the person who wrote the value; it names the flag, variable or key."""


@attrs.frozen
class SettingsFile:
    """The text of a `lattice.toml`. Relative paths in it are relative to its folder."""

    path: Path
    text: str


@attrs.frozen
class Effective:
    """What the server will run with, and where each value came from."""

    settings: Settings
    origins: Mapping[str, str]  # field to "--port", "PORT", "lattice.toml", "profile safe", ...
    warnings: tuple[str, ...] = ()


@attrs.frozen
class _Given:
    """A value that someone wrote, and how they will recognise it."""

    raw: Raw
    name: str  # "--port", "LATTICE_PORT", "port in ./lattice.toml"
    origin: str
    folder: Path | None = None  # what a relative path starts from; None: the working directory


def read(
    flags: Mapping[str, Raw],
    environ: Mapping[str, str],
    file: SettingsFile | None = None,
) -> Effective:
    """Return the settings in effect. *flags* maps fields to what was written after the flag.

    Raises:
        SettingsError: for the first value, in the order of the fields, that cannot be read.
    """
    table = _parse(file)
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    tier: Mapping[str, object] = {}
    # The profile comes first, because it decides the defaults of the others.
    for setting in sorted(SETTINGS.values(), key=lambda setting: setting.name != "profile"):
        given = next(_candidates(setting, flags, environ, table, file), None)
        if given is not None:
            values[setting.name] = _value(setting, given, environ)
            origins[setting.name] = given.origin
        elif setting.name in tier:
            values[setting.name] = tier[setting.name]
            origins[setting.name] = f"profile {values['profile']}"
        else:
            origins[setting.name] = "default"
        if setting.name == "profile":
            tier = TIERS.get(str(values.get("profile")), {})
    values.setdefault("cache_dir", default_cache_dir(environ))
    settings = Settings(**cast("dict[str, Any]", values))  # each value came from its own reader
    settings = _reconcile(settings, origins)
    if any(table.said["name"] == LM_STUDIO for table in settings.upstream) and (
        settings.lm_studio_url is not None
    ):
        raise SettingsError(
            f"{origins['upstream']} names an upstream {LM_STUDIO}, and so does "
            f"{origins['lm_studio_url']}"
        )
    return Effective(
        settings,
        {name: origins[name] for name in SETTINGS},
        tuple(_warnings(settings, environ)),
    )


def _parse(file: SettingsFile | None) -> Mapping[str, Raw]:
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file.path} is not valid TOML: {error}") from error
    table = dict(_flat(table))
    for key, value in table.items():
        if key not in SETTINGS:
            raise SettingsError(f"{key} in {file.path} is not a setting{_guess(key, SETTINGS)}")
        tables = SETTINGS[key].kind in (Kind.NAMED_LISTS, Kind.PRICES)
        wanted = dict | str if tables else str | bool | int | float | list
        if not isinstance(value, wanted):
            raise SettingsError(f"{key} in {file.path} must be one value")
    return table


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """``[swarm.presets]`` is the table of the setting `swarm_presets`."""
    for key, value in table.items():
        inner = value if isinstance(value, dict) else {}
        joined = {f"{key}_{name}": one for name, one in inner.items()}
        if key not in SETTINGS and joined and all(name in SETTINGS for name in joined):
            yield from joined.items()
        else:
            yield key, value


def _candidates(
    setting: Setting,
    flags: Mapping[str, Raw],
    environ: Mapping[str, str],
    table: Mapping[str, Raw],
    file: SettingsFile | None,
) -> Iterator[_Given]:
    if setting.name in flags:
        yield _Given(flags[setting.name], setting.flag, setting.flag)
    for variable in (setting.variable, *setting.aliases):
        written = environ.get(variable)
        if written is not None and (written.strip() or setting.kind is Kind.NAMES):
            yield _Given(written, variable, variable)
    if file is not None and setting.name in table:
        name = f"{setting.name} in {file.path}"
        yield _Given(table[setting.name], name, str(file.path), file.path.parent)


def _value(setting: Setting, given: _Given, environ: Mapping[str, str]) -> object:
    try:
        value = setting.read(given.raw)
    except WrongValue as error:
        reason = "must be text" if setting.secret else str(error)
        raise SettingsError(f"{given.name} {reason}") from error
    if isinstance(value, Path):
        return _located(value, given.folder, environ)
    return value


def _located(written: Path, folder: Path | None, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    if written.parts[:1] == ("~",) and home:
        return Path(home, *written.parts[1:])
    return written if folder is None else folder / written


def _reconcile(settings: Settings, origins: dict[str, str]) -> Settings:
    """Settle what concerns two settings; *origins* is brought up to date."""
    lowest, highest = settings.queue_priority_min, settings.queue_priority_max
    if not lowest <= settings.queue_priority_default <= highest:
        named = ", ".join(
            f"{name}={getattr(settings, name)} ({origins[name]})"
            for name in ("queue_priority_min", "queue_priority_default", "queue_priority_max")
        )
        raise SettingsError(f"the queue priorities must be in ascending order: {named}")
    if settings.default_max_tokens > settings.max_tokens_ceiling:
        origins["default_max_tokens"] += f", lowered by {origins['max_tokens_ceiling']}"
        return attrs.evolve(settings, default_max_tokens=settings.max_tokens_ceiling)
    return settings


def _warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    idle = [variable for variable in NO_EFFECT if environ.get(variable, "").strip()]
    if idle:
        verb = "is set and has" if len(idle) == 1 else "are set and have"
        yield f"{', '.join(idle)} {verb} no effect here; lattice-trio config says why"
    variables = {setting.variable for setting in SETTINGS.values()}
    for name in sorted(environ):
        if name.startswith("LATTICE_") and name not in variables | NOT_SETTINGS:
            yield f"{name} is not a setting{_guess(name, variables)}"
    if settings.lm_studio_url is not None and settings.prefer_loaded_models is None:
        yield (
            "PREFER_LOADED_MODELS is not set, so only models that LM Studio has loaded can be "
            "chosen while there are any (strict); set it to strict, 1 or 0"
        )
    if settings.extra_placeholder_models is None and any(
        name.startswith(("MLX_", "MIDDLE_LAYER_")) for name in environ
    ):
        # Only for people who come from Local Lattice: to others the old names are no news.
        yield (
            "EXTRA_PLACEHOLDER_MODELS is not set, so the old names (middlelayer, mlx, lmstudio, "
            "openclaw, ...) still mean auto; this will end, set it to the names you use"
        )


def _guess(name: str, known: Mapping[str, object] | set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
