"""The flags of `serve` and `config`, made from the settings, and the settings made from them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from lattice_actors.settings import (
    Effective,
    Kind,
    Raw,
    Setting,
    SettingsError,
    SettingsFile,
    grouped,
    read,
)

FILE_NAME = "lattice.toml"
_FLAG_TYPES: Mapping[Kind, type] = {
    Kind.SWITCH: bool,
    Kind.SERVERS: list[str],  # written several times
}


def signature(extra: Iterable[inspect.Parameter] = ()) -> inspect.Signature:
    """Return the signature of a command that takes every setting, and the flags in *extra*."""
    parameters = [
        *extra,
        flag("config", str, f"Read this file instead of {FILE_NAME} in the working directory."),
        # Local Lattice asked questions at start unless told not to; its scripts still say so.
        flag("no_pick_model", bool, "", show=False),
        flag("no_grab", bool, "", show=False),
    ]
    for order, (heading, settings) in enumerate(grouped().items(), 1):
        group = Group(heading, sort_key=order)
        parameters += [
            flag(
                setting.name,
                _FLAG_TYPES.get(setting.kind, str),
                _help(setting),
                names=(setting.flag, *setting.flags),
                group=group,
                show=not setting.hidden,
            )
            for setting in settings
        ]
    return inspect.Signature(parameters)


def flag(
    name: str,
    annotation: type,
    about: str,
    *,
    names: tuple[str, ...] = (),
    group: Group | None = None,
    show: bool = True,
) -> inspect.Parameter:
    """Return a keyword parameter that is None when the flag was not written.

    Values stay text: one reader decides for flags, variables and the file alike. A flag that is
    no setting has no ``--no-`` form.
    """
    parameter = Parameter(
        name=names or ("--" + name.replace("_", "-"),),
        help=about,
        group=group,
        show=show,
        show_default=False,
        negative=None if names and annotation is bool else (),
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[annotation | None, parameter],
    )


def effective_settings(
    values: Mapping[str, object], environ: Mapping[str, str] | None = None
) -> Effective:
    """Return the settings for a command called with *values*, its keyword arguments.

    Raises:
        SettingsError: when a value is wrong, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    flags: dict[str, Raw] = {}
    for settings in grouped().values():
        for setting in settings:
            written = values.get(setting.name)
            if isinstance(written, str | bool | list):
                flags[setting.name] = written
    config = values.get("config")
    return read(flags, environ, find_file(config if isinstance(config, str) else None, environ))


def find_file(explicit: str | None, environ: Mapping[str, str]) -> SettingsFile | None:
    """Return the settings file: *explicit*, or the first of the usual places that has one.

    Raises:
        SettingsError: when *explicit* does not exist, or a file cannot be read.
    """
    if explicit is not None:
        return _read_file(Path(explicit).expanduser(), "--config: ")
    for path in (Path(FILE_NAME), configuration_directory(environ) / FILE_NAME):
        if path.is_file():
            return _read_file(path, "")
    return None


def configuration_directory(environ: Mapping[str, str]) -> Path:
    """Return the user's folder of lattice-trio's files; it need not exist."""
    configuration = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", ""), ".config"))
    return Path(configuration, "lattice-trio")


def _read_file(path: Path, said_by: str) -> SettingsFile:
    try:
        return SettingsFile(path, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{said_by}cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{said_by}{path} is not UTF-8 text") from error


def _help(setting: Setting) -> str:
    facts = [setting.variable]
    if setting.choices:
        facts.append(" | ".join(setting.choices))
    if setting.unit:
        facts.append(setting.unit)
    default = setting.show_default()
    if default:
        facts.append(f"default {default}")
    return f"{setting.help} [{'; '.join(facts)}]"
