"""The `[[upstream]]` tables of `lattice.toml`, and NAME=URL of a flag or variable. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import attrs

from lattice_actors.remote.plan import UpstreamPlan

from .values import (
    Raw,
    Reader,
    WrongValue,
    choice_reader,
    number_reader,
    read_names,
    read_some_text,
    read_text,
    whole_reader,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# First parts of ids and of X-Model-Routed-To that mean something else.
RESERVED = frozenset({"mlx", "mlx-grab", "local", "anthropic", "swarm", "role", "auto", "default"})

LM_STUDIO = "lmstudio"  # the upstream that LM_STUDIO_URL makes

_LOADED_POLICIES = {
    "strict": ("strict", "only", "2", "loaded-only", "loaded_only"),
    "ignore": ("ignore", "0", "false", "no", "off"),
    "prefer": ("prefer", "1", "true", "yes", "on"),
}


def read_loaded_policy(raw: Raw) -> str:
    """Return strict, prefer or ignore, from those or from the words of Local Lattice."""
    word = ("1" if raw else "0") if isinstance(raw, bool) else str(raw).strip().lower()
    for policy, words in _LOADED_POLICIES.items():
        if word in words:
            return policy
    raise WrongValue(f"must be strict, prefer (1) or ignore (0), not {raw!r}")


def read_url(raw: Raw) -> str:
    """Return the address of a server without ``/v1`` and without a slash at its end."""
    text = read_some_text(raw)
    try:
        parts = urlsplit(text)
        port_fits = parts.port is None or parts.port > 0
        (parts.hostname or "").encode("idna")  # as a look-up does: a..b is no name at all
    except ValueError:
        port_fits = False
    if not port_fits or parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongValue(f"must be an address such as http://127.0.0.1:1234, not {text!r}")
    if parts.username is not None or parts.password is not None:
        raise WrongValue("must not have a key in it; use api_key_env")
    if parts.query or parts.fragment or not text.isascii() or re.search(r"\s", text):
        raise WrongValue(f"must be an address without ? and #, not {text!r}")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def _read_name(raw: Raw) -> str:
    name = read_text(raw)
    if not _NAME.fullmatch(name):
        raise WrongValue(
            f"must be lower-case letters, digits, '.', '_' and '-', up to 32, not {name!r}"
        )
    if name in RESERVED:
        raise WrongValue(f"must not be {name!r}, which means something else")
    return name


def _read_variable(raw: Raw) -> str:
    name = read_text(raw)
    if not _VARIABLE.fullmatch(name):
        raise WrongValue("must be the name of an environment variable, not a key")
    return name


def _read_models(raw: Raw) -> tuple[str, ...]:
    return read_names(raw)


@attrs.frozen
class Key:
    """One key of a table."""

    about: str
    read: Reader
    needed: bool = False


_SECONDS = number_reader(0.1, 3600.0)

KEYS: Mapping[str, Key] = {
    "name": Key("First part of its models' ids: `name/model`.", _read_name, needed=True),
    "url": Key("Address, with or without `/v1`.", read_url, needed=True),
    "api_key_env": Key(
        "Environment variable that has its key, sent as `Authorization: Bearer`.", _read_variable
    ),
    "kind": Key(
        "What it is, where that matters: `auto`, `openai`, `lmstudio`, `vllm`, `lattice`.",
        choice_reader(("auto", "openai", "lmstudio", "vllm", "lattice")),
    ),
    "models": Key(
        "Which of its models are offered, with `*`. Names without one are also offered by a "
        "server that has no list.",
        _read_models,
    ),
    "embedding_models": Key(
        "Which of its models answer with embeddings and with nothing else, with `*`. The others "
        "are told by LM Studio's or lattice-trio's list, or by their names.",
        _read_models,
    ),
    "concurrency": Key("Answers at once over all its models; 0: no limit.", whole_reader(0, 4096)),
    "model_concurrency": Key("Answers at once of one model; 0: no limit.", whole_reader(0, 4096)),
    "policy": Key(
        "LM Studio only: what it matters that a model is loaded, as `prefer_loaded_models`.",
        read_loaded_policy,
    ),
    "weight": Key(
        "Its share where several servers have the same model.", number_reader(0.01, 100.0)
    ),
    "connect_timeout_s": Key("To open a connection.", _SECONDS),
    "first_byte_timeout_s": Key("From the request to the first sign of life.", _SECONDS),
    "idle_timeout_s": Key("Between two signs of life of an answer.", _SECONDS),
    "probe_timeout_s": Key("For the list of its models.", _SECONDS),
    "refresh_s": Key("How often that list is read.", number_reader(1.0, 86400.0)),
    "retries": Key("Second tries of one request, before its first token.", whole_reader(0, 5)),
    "eject_after": Key("Failures in a row after which it is left alone.", whole_reader(1, 1000)),
    "eject_s": Key("For how long, the first time.", number_reader(1.0, 300.0)),
}


@attrs.frozen
class UpstreamTable:
    """One table: what was said, as arguments of `UpstreamPlan`."""

    said: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.said['name']}={self.said['url']}"

    def plan(self, **defaults: object) -> UpstreamPlan:
        """Return the upstream; *defaults* are for what was not said."""
        return UpstreamPlan(**cast("Any", {**defaults, **self.said}))


def read_upstreams(raw: Raw) -> tuple[UpstreamTable, ...]:
    """Return the upstreams of tables, or of ``NAME=URL`` between commas."""
    if isinstance(raw, list) and any(isinstance(entry, dict) for entry in raw):
        entries = [_table(entry, number) for number, entry in enumerate(raw, 1)]
    else:
        entries = [_pair(text) for text in read_names(raw)]
    names = [entry.said["name"] for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise WrongValue(f"must not name {name} twice")
    return tuple(entries)


def _pair(text: str) -> UpstreamTable:
    name, equals, url = text.partition("=")
    if not equals:
        raise WrongValue(f"must be NAME=URL, not {text!r}")
    return UpstreamTable({"name": _read_name(name), "url": read_url(url)})


def _table(entry: object, number: int) -> UpstreamTable:
    if not isinstance(entry, dict):
        raise WrongValue(f"must be tables [[upstream]], and number {number} is none")
    shown = (
        f"number {number} ({entry['name']})"
        if isinstance(entry.get("name"), str)
        else (f"number {number}")
    )
    for key in entry:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            raise WrongValue(f"{shown} has the key {key}, which is unknown{guess}")
    for key, known in KEYS.items():
        if known.needed and key not in entry:
            raise WrongValue(f"{shown} has no {key}")
    said: dict[str, Any] = {}
    for key, raw in entry.items():
        try:
            said[key] = KEYS[key].read(raw)
        except WrongValue as error:
            raise WrongValue(f"{shown}: {key} {error}") from None
    return UpstreamTable(said)
