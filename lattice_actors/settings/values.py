"""Turning the text of a flag, a variable or a file entry into a value. Pure.

A reader takes the text (or the TOML value) and returns the value, or raises `WrongValue` whose
message completes the sentence "<name> ...": "must be a whole number from 0 to 65535, not 'x'".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

# What a source can hold: text everywhere, and TOML's own types in the file.
Raw = str | bool | int | float | list[object] | dict[str, object]

Reader = Callable[[Raw], object]

_ON = frozenset({"1", "true", "yes", "on"})
_OFF = frozenset({"0", "false", "no", "off"})
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


class WrongValue(ValueError):
    """The text does not mean a value of this setting."""


def read_text(raw: Raw) -> str:
    """Return the text without surrounding space."""
    if not isinstance(raw, str):
        raise WrongValue(f"must be text, not {raw!r}")
    return raw.strip()


def read_some_text(raw: Raw) -> str:
    """Return the text, which must not be empty."""
    text = read_text(raw)
    if not text:
        raise WrongValue("must not be empty")
    return text


def read_switch(raw: Raw) -> bool:
    """Return whether it is on: 1/true/yes/on or 0/false/no/off, in any case."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _ON:
        return True
    if word in _OFF:
        return False
    raise WrongValue(f"must be 1/true/yes/on or 0/false/no/off, not {raw!r}")


def read_names(raw: Raw) -> tuple[str, ...]:
    """Return the entries of a comma list (or a TOML array of texts); empty ones are dropped."""
    if isinstance(raw, list):
        if not all(isinstance(entry, str) for entry in raw):
            raise WrongValue(f"must be a list of texts, not {raw!r}")
        entries = [str(entry) for entry in raw]
    else:
        entries = read_text(raw).split(",")
    return tuple(entry.strip() for entry in entries if entry.strip())


def read_table(raw: Raw, what: str) -> dict[str, object]:
    """Return a TOML table, or a JSON object that was given as text; *what* it holds."""
    table: object = raw
    if isinstance(raw, str):
        try:
            table = json.loads(raw)
        except ValueError:
            raise WrongValue("must be a JSON object") from None
    if not isinstance(table, dict):
        raise WrongValue(f"must be {what}, not {table!r}")
    return table


def read_named_lists(raw: Raw) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return lists of texts by name, from a TOML table or from a JSON object."""
    table = read_table(raw, "lists by name")
    lists: list[tuple[str, tuple[str, ...]]] = []
    for name, entries in table.items():
        read = read_names(entries) if isinstance(entries, str | list) else ()
        if not str(name).strip() or not read:
            raise WrongValue(f"must have a list of texts under each name, not {name!r}")
        lists.append((str(name).strip(), read))
    return tuple(lists)


def read_size(raw: Raw) -> int:
    """Return a size in bytes. ``8GB`` is decimal, ``8GiB`` and ``8G`` are powers of 1024."""
    if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0:
        return raw
    match = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise WrongValue(f"must be a size such as 8GB, 512MiB or 1048576, not {raw!r}")
    number, prefix, binary = match.groups()
    if prefix is None:
        return int(float(number))
    spelled_out = match.group().lower().endswith("b")
    base = 1000 if spelled_out and not binary else 1024
    return int(float(number) * base ** _POWER[prefix.lower()])


def read_path(raw: Raw) -> Path:
    """Return the path as written; `reading` makes it absolute."""
    text = read_text(raw)
    if not text:
        raise WrongValue("must be a path, not empty")
    if text.startswith("hf:"):
        raise WrongValue(f"must be a directory on this machine, and {text!r} is not downloaded")
    if "\0" in text:
        raise WrongValue("must be a path, and a path has no NUL")
    return Path(text)


def whole_reader(least: int, most: int | None) -> Reader:
    """Make a reader of whole numbers between the bounds."""
    wanted = _range("whole number", least, most)

    def read(raw: Raw) -> int:
        value: int | None = None
        if isinstance(raw, int) and not isinstance(raw, bool):
            value = raw
        elif isinstance(raw, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", raw.strip()):
            value = int(raw)
        if value is None or value < least or (most is not None and value > most):
            raise WrongValue(f"must be {wanted}, not {raw!r}")
        return value

    return read


def number_reader(least: float, most: float | None) -> Reader:
    """Make a reader of finite numbers between the bounds."""
    wanted = _range("number", least, most)

    def read(raw: Raw) -> float:
        value = math.nan
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            value = float(raw)
        elif isinstance(raw, str):
            try:
                value = float(raw)
            except ValueError:
                value = math.nan
        if not math.isfinite(value) or value < least or (most is not None and value > most):
            raise WrongValue(f"must be {wanted}, not {raw!r}")
        return value

    return read


def choice_reader(choices: tuple[str, ...]) -> Reader:
    """Make a reader that takes one of the words, in any case."""

    def read(raw: Raw) -> str:
        word = raw.strip().lower() if isinstance(raw, str) else None
        if word not in choices:
            raise WrongValue(f"must be one of {', '.join(choices)}, not {raw!r}")
        return word

    return read


def _range(noun: str, least: float, most: float | None) -> str:
    if most is None:
        return f"a {noun} of at least {least:g}"
    return f"a {noun} from {least:g} to {most:g}"
