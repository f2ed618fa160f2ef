"""`lattice-trio config`: the settings in effect and their origin, as table, JSON or handbook."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.settings import (
    KEYS,
    NO_EFFECT,
    SETTINGS,
    TIERS,
    Effective,
    Kind,
    Setting,
    grouped,
)

UNSET = "-"

_INTRODUCTION = """\
# Configuration

<!-- Generated: `lattice-trio config --markdown > docs/configuration.md`. A test compares. -->

Every setting can be given in four ways. The first that is there wins:

1. a flag: `lattice-trio serve --port 8080`;
2. an environment variable: `LATTICE_PORT=8080`;
3. the variable of Local Lattice that means the same: `PORT=8080`;
4. the file `lattice.toml`: `port = 8080`. It is the one named with `--config`, or the one in the
   working directory, or `~/.config/lattice-trio/lattice.toml`.

`lattice-trio config` (in a checkout `.venv/bin/lattice-trio config`) shows the settings in effect
and where each comes from; `--json` writes the same for programs. Keys are never shown. A value that
cannot be read ends the program with one line that names it, and exit code 2.

- on/off: `1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`. As a flag: `--builtin` or
  `--no-builtin`. In the file: `true` or `false`.
- comma list: `a,b`. In the file also `["a", "b"]`.
- lists by name: a JSON object, `{"wise": ["role:reasoner", "auto"]}`. In the file a table:
  `[swarm.presets]` with `wise = ["role:reasoner", "auto"]`.
- size: bytes, or `8GB` (powers of 1000), or `8GiB` or `8G` (powers of 1024).
- path: `~` is the home directory; in the file, a relative path starts at the file's folder.
- An empty variable counts as not set, except for a comma list, where it is the empty list.
"""

_UPSTREAMS = """\
## Keys of `[[upstream]]`

One table in `lattice.toml` for each server ([upstreams.md](upstreams.md)). A flag or variable
`NAME=URL` says the first two and leaves the others at their defaults. All sources but the first
that names upstreams are passed over; `lm_studio_url` adds one in any case.
"""

_TIERS = """\
## Profiles

`--profile` changes defaults for a machine that is short of memory. Anything set elsewhere wins.
"""

_NO_EFFECT = """\
## Variables of Local Lattice without effect

They are accepted, so that a start script can stay as it is. One line at start names those that
are set.
"""


def show(effective: Effective, *, as_json: bool) -> str:
    """Return the settings with their origins, for a person or a program."""
    return as_program(effective) if as_json else as_table(effective)


def as_table(effective: Effective, environ: Mapping[str, str] = os.environ) -> str:
    """Return one line a setting, then what was said but has no effect."""
    rows = [("setting", "value", "from")]
    for setting in SETTINGS.values():
        origin = effective.origins[setting.name]
        if not setting.hidden or origin != "default":
            value = setting.show(getattr(effective.settings, setting.name))
            rows.append((setting.name, value or UNSET, origin))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    for variable, reason in _without_effect(environ).items():
        lines.append(f"{variable}: accepted, no effect ({reason})")
    lines += [f"warning: {warning}" for warning in effective.warnings]
    return "\n".join(lines)


def as_program(effective: Effective, environ: Mapping[str, str] = os.environ) -> str:
    """Return the same as JSON; a key is the text "set" or null."""
    settings = {
        setting.name: {
            "value": _json_value(setting, getattr(effective.settings, setting.name)),
            "origin": effective.origins[setting.name],
        }
        for setting in SETTINGS.values()
    }
    content = {
        "settings": settings,
        "no_effect": _without_effect(environ),
        "warnings": effective.warnings,
    }
    return json.dumps(content, indent=2)


def as_markdown() -> str:
    """Return `docs/configuration.md`. The same on every machine."""
    parts = [_INTRODUCTION]
    for heading, settings in grouped().items():
        rows = [_markdown_row(setting) for setting in settings if not setting.hidden]
        parts.append(f"## {heading}\n\n" + _table(("setting", "default", "meaning"), rows))
    parts.append(_UPSTREAMS + "\n" + _table(("key", "default", "meaning"), _upstream_rows()))
    names = sorted({name for tier in TIERS.values() for name in tier})
    tiers = [[f"`{name}`", *(f"`{tier[name]}`" for tier in TIERS.values())] for name in names]
    parts.append(_TIERS + "\n" + _table(("setting", *TIERS), tiers))
    reasons = [[f"`{variable}`", reason] for variable, reason in NO_EFFECT.items()]
    parts.append(_NO_EFFECT + "\n" + _table(("variable", "why"), reasons))
    return "\n".join(parts)


def _without_effect(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: reason for name, reason in NO_EFFECT.items() if environ.get(name, "").strip()}


def _json_value(setting: Setting, value: object) -> object:
    if setting.secret:
        return setting.show(value) or None
    if setting.kind in (Kind.SERVERS, Kind.PRICES):
        return setting.show(value) or None
    return str(value) if isinstance(value, Path) else value


def _markdown_row(setting: Setting) -> list[str]:
    written = [f"`{setting.flag}`"]
    written += [f"`{flag}`" for flag in setting.flags]
    written += [f"`{variable}`" for variable in (setting.variable, *setting.aliases)]
    default = setting.show_default()
    if default and not setting.shown_default:
        default = f"`{default}`"
    kind = setting.kind.value
    if setting.kind is Kind.CHOICE:
        kind = " or ".join(f"`{word}`" for word in setting.choices)
    unit = f", {setting.unit}" if setting.unit else ""
    return [
        f"`{setting.name}`<br>{kind}{unit}",
        default,
        f"{setting.help}<br>{' '.join(written)}",
    ]


def _upstream_rows() -> list[list[str]]:
    defaults = {field.name: field.default for field in attrs.fields(UpstreamPlan)}
    set_elsewhere = {"refresh_s": "upstream_refresh_s", "policy": "prefer_loaded_models"}
    rows = []
    for name, key in KEYS.items():
        default = "" if key.needed else defaults[name]
        if name in set_elsewhere:
            shown = f"as `{set_elsewhere[name]}`"
        elif default in ("", ()):
            shown = "must be there" if key.needed else ""
        else:
            shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        rows.append([f"`{name}`", shown, key.about])
    return rows


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )
