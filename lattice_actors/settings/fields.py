"""What is known about one setting, and the makers of the fields of `Settings`. Pure.

Each maker returns an attrs field and is typed as the value, so that a class body reads like
plain defaults: ``port: int = whole(5001, "Port to listen on.", most=65535)``.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import attrs

from .prices import Prices, read_prices, show_prices
from .upstreams import UpstreamTable, read_loaded_policy, read_upstreams, read_url
from .values import (
    Raw,
    Reader,
    choice_reader,
    number_reader,
    read_named_lists,
    read_names,
    read_path,
    read_size,
    read_some_text,
    read_switch,
    read_text,
    whole_reader,
)

METADATA_KEY = "lattice.setting"


class Kind(enum.Enum):
    """How a value is written; the word stands in help and documentation."""

    TEXT = "text"
    SWITCH = "on/off"
    WHOLE = "whole number"
    NUMBER = "number"
    SIZE = "size"
    NAMES = "comma list"
    NAMED_LISTS = "lists by name"
    PRICES = "prices by model"
    PATH = "path"
    CHOICE = "choice"
    URL = "address"
    SERVERS = "NAME=URL list"


@attrs.frozen
class Setting:
    """Everything the command line, the documentation and the reader need to know of a field."""

    name: str  # of the field, and the key in lattice.toml
    help: str
    kind: Kind
    read: Reader
    default: object
    unit: str = ""  # "s", "tokens", "bytes", ...
    aliases: tuple[str, ...] = ()  # variables of Local Lattice with the same meaning
    flags: tuple[str, ...] = ()  # other spellings of the flag
    choices: tuple[str, ...] = ()
    shown_default: str = ""  # instead of the value, where that would depend on the machine
    secret: bool = False  # its value is never shown
    hidden: bool = False  # for tests and measurements: not in help and documentation

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"LATTICE_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The command line flag."""
        return "--" + self.name.replace("_", "-")

    def show(self, value: object) -> str:
        """Write a value the way a person would; secrets only as being there."""
        if value is None or value == ():
            return ""
        if self.secret:
            return "set"
        if isinstance(value, bool):
            return "on" if value else "off"
        if self.kind is Kind.NAMED_LISTS and isinstance(value, tuple):
            return json.dumps({name: list(entries) for name, entries in value})
        if self.kind is Kind.PRICES:
            return show_prices(cast("Prices", value))
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if isinstance(value, float):
            return f"{value:g}"
        return str(value)

    def show_default(self) -> str:
        """The default as it stands in help and documentation."""
        return self.shown_default or self.show(self.default)


class Options(TypedDict, total=False):
    """What a maker passes on to `Setting`, which says what each means."""

    unit: str
    aliases: tuple[str, ...]
    flags: tuple[str, ...]
    shown_default: str
    secret: bool
    hidden: bool


@attrs.frozen
class _Draft:
    """A `Setting` before attrs has told its name and default."""

    help: str
    kind: Kind
    read: Reader
    choices: tuple[str, ...]
    options: Options


def setting_of(field: attrs.Attribute[Any]) -> Setting:
    """Return what is known of a field of `Settings`."""
    draft: _Draft = field.metadata[METADATA_KEY]
    default = None if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]  # attrs types its Factory as a function
    return Setting(
        name=field.name,
        help=draft.help,
        kind=draft.kind,
        read=draft.read,
        default=default,
        choices=draft.choices,
        **draft.options,
    )


def text(default: str, about: str, **options: Unpack[Options]) -> str:
    """Make a field of text that is always there."""
    return cast("str", _field(default, about, Kind.TEXT, read_some_text, options))


def optional_text(about: str, **options: Unpack[Options]) -> str | None:
    """Make a field of text that may be missing; empty text is missing."""
    return cast("str | None", _field(None, about, Kind.TEXT, _or_none(read_text), options))


def optional_path(about: str, **options: Unpack[Options]) -> Path | None:
    """Make a field of a path that may be missing."""
    return cast("Path | None", _field(None, about, Kind.PATH, _or_none(read_path), options))


def path(factory: Callable[[], Path], about: str, **options: Unpack[Options]) -> Path:
    """Make a field of a path whose default depends on the machine."""
    default = attrs.Factory(factory)
    return cast("Path", _field(default, about, Kind.PATH, read_path, options))


def switch(default: bool, about: str, **options: Unpack[Options]) -> bool:
    """Make a field that is on or off."""
    return cast("bool", _field(default, about, Kind.SWITCH, read_switch, options))


def whole(
    default: int,
    about: str,
    *,
    least: int = 0,
    most: int | None = None,
    **options: Unpack[Options],
) -> int:
    """Make a field of a whole number."""
    return cast("int", _field(default, about, Kind.WHOLE, whole_reader(least, most), options))


def number(
    default: float,
    about: str,
    *,
    least: float = 0.0,
    most: float | None = None,
    **options: Unpack[Options],
) -> float:
    """Make a field of a number, mostly of seconds."""
    return cast("float", _field(default, about, Kind.NUMBER, number_reader(least, most), options))


def size(default: int, about: str, *, least: int = 0, **options: Unpack[Options]) -> int:
    """Make a field of a size in bytes."""
    at_least = whole_reader(least, None)

    def read(raw: Raw) -> object:
        return at_least(read_size(raw))

    options.setdefault("unit", "bytes")
    return cast("int", _field(default, about, Kind.SIZE, read, options))


def names(
    about: str, *, default: tuple[str, ...] = (), **options: Unpack[Options]
) -> tuple[str, ...]:
    """Make a field of a comma list."""
    return cast("tuple[str, ...]", _field(default, about, Kind.NAMES, read_names, options))


def named_lists(about: str, **options: Unpack[Options]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Make a field of lists that have names, empty by default."""
    made = _field((), about, Kind.NAMED_LISTS, read_named_lists, options)
    return cast("tuple[tuple[str, tuple[str, ...]], ...]", made)


def prices(about: str, **options: Unpack[Options]) -> Prices:
    """Make a field of what models cost, empty by default."""
    return cast("Prices", _field((), about, Kind.PRICES, read_prices, options))


def optional_names(about: str, **options: Unpack[Options]) -> tuple[str, ...] | None:
    """Make a field of a comma list where an empty list differs from none at all."""
    return cast("tuple[str, ...] | None", _field(None, about, Kind.NAMES, read_names, options))


def choice(default: str, choices: tuple[str, ...], about: str, **options: Unpack[Options]) -> str:
    """Make a field that is one of some words."""
    read = choice_reader(choices)
    return cast("str", _field(default, about, Kind.CHOICE, read, options, choices))


def optional_choice(choices: tuple[str, ...], about: str, **options: Unpack[Options]) -> str | None:
    """Make a field that is one of some words, or missing."""
    read = _or_none(choice_reader(choices))
    return cast("str | None", _field(None, about, Kind.CHOICE, read, options, choices))


def servers(about: str, **options: Unpack[Options]) -> tuple[UpstreamTable, ...]:
    """Make a field of other servers, none by default."""
    made = _field((), about, Kind.SERVERS, read_upstreams, options)
    return cast("tuple[UpstreamTable, ...]", made)


def optional_loaded_policy(about: str, **options: Unpack[Options]) -> str | None:
    """Make a field of what it matters that a model is loaded, or missing."""
    words = ("strict", "prefer", "ignore")
    made = _field(None, about, Kind.CHOICE, _or_none(read_loaded_policy), options, words)
    return cast("str | None", made)


def optional_url(about: str, **options: Unpack[Options]) -> str | None:
    """Make a field of the address of a server, or missing."""
    return cast("str | None", _field(None, about, Kind.URL, _or_none(read_url), options))


def url(default: str, about: str, **options: Unpack[Options]) -> str:
    """Make a field of the address of a server that is always there."""
    return cast("str", _field(default, about, Kind.URL, read_url, options))


def _or_none(reader: Reader) -> Reader:
    def read(raw: Raw) -> object:
        if isinstance(raw, str) and not raw.strip():
            return None
        return reader(raw)

    return read


def _field(
    default: object,
    about: str,
    kind: Kind,
    read: Reader,
    options: Options,
    choices: tuple[str, ...] = (),
) -> object:
    # attrs.field is typed for a class body; here only its value matters.
    draft = _Draft(about, kind, read, choices, options)
    made: object = attrs.field(default=default, metadata={METADATA_KEY: draft})
    return made
