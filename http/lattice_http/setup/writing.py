"""The text of `lattice.toml` with a proposal in it. Pure.

What stands in the file stays as it is, comments too: tables are added at its end, `model_root` at
its beginning, and only the table [roles] is written anew, with its entries first. The result is
parsed and compared with what was meant; text that cannot be mended like this is refused.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lattice_actors.capability.words import fold

from .proposal import Proposal, Table

_HEAD = """\
# Settings of lattice-trio; `lattice-trio config` shows all there are. Keys of servers do not stand
# here: `api_key_env` names the environment variable that has one.
"""
_ROLES = """\
# What role:NAME means, best first: the first that is there answers. A role that is not named here
# keeps its built-in meaning.
"""
_BUILTIN = "builtin = true  # SmolLM2, so that there is a model; it stands back behind all others\n"
_COMMENTS = {
    "model_concurrency": "answers at once of one model; more if the server is set up for more",
    "concurrency": "its slots",
    "first_byte_timeout_s": "it may have to load the model first",
    "models": "it lists none",
    "policy": "strict: only loaded models can be chosen while there are any",
}
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MODEL_ROOT_LINE = re.compile(r"^model_root\s*=.*\n?", re.M)
_ROLES_TABLE = re.compile(
    r"^[ \t]*\[[ \t]*roles[ \t]*\][ \t]*(?:#.*)?\n(?:(?![ \t]*\[).*\n?)*", re.M
)


class CannotAdd(ValueError):
    """The file is written in a way that nothing can be added to; the text says what to do."""


def fresh(proposal: Proposal, home: Path) -> str:
    """Return a new file."""
    parts = [_HEAD]
    if proposal.model_root is not None:
        parts.append(f"model_root = {value(shown_path(proposal.model_root, home))}\n")
    if proposal.builtin:
        parts.append(_BUILTIN)
    parts += [_upstream(table) for table in proposal.upstreams]
    if proposal.roles:
        parts.append(_ROLES + _table_of_roles(proposal.roles))
    return "\n".join(parts)


def added(text: str, proposal: Proposal, home: Path) -> str:
    """Return the file *text*, valid TOML, with *proposal* in it; the same text if all is there.

    Raises:
        CannotAdd: as with `upstream = "..."`, where no table can follow.
    """
    before = tomllib.loads(text)
    wanted = _wanted(before, proposal, home)
    if wanted == before:
        return text
    if text and not text.endswith("\n"):
        text += "\n"
    if wanted.get("model_root") != before.get("model_root"):
        line = f"model_root = {value(wanted['model_root'])}\n"
        text = line + _MODEL_ROOT_LINE.sub("", text, count=1)
    if "builtin" in wanted and "builtin" not in before:
        text = _BUILTIN + text
    if wanted.get("roles") != before.get("roles"):
        table = _table_of_roles(wanted["roles"])
        if "roles" in before:
            text = _ROLES_TABLE.sub(lambda _: table + "\n", text, count=1)
        else:
            text += "\n" + _ROLES + table
    for upstream in proposal.upstreams:
        text += "\n" + _upstream(upstream)
    try:
        mended = tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        mended = False
    if not mended:
        raise CannotAdd("its upstream or roles are written in a way that nothing can be added to")
    return text


def shown_path(path: Path, home: Path) -> str:
    """Return *path* as it is written: from ~ where that is shorter."""
    if path.is_relative_to(home) and path != home:
        return f"~/{path.relative_to(home).as_posix()}"
    return path.as_posix()


def value(item: object) -> str:
    """Return a text, number, switch or list of texts as TOML."""
    if isinstance(item, list | tuple):
        return "[" + ", ".join(value(one) for one in item) + "]"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int | float):
        return repr(item)
    # JSON's escapes are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(str(item), ensure_ascii=False).replace("\x7f", "\\u007f")


def _wanted(before: Mapping[str, Any], proposal: Proposal, home: Path) -> dict[str, Any]:
    """Return what the file is to mean."""
    wanted = dict(before)
    if proposal.model_root is not None:
        wanted["model_root"] = shown_path(proposal.model_root, home)
    if proposal.builtin:
        wanted.setdefault("builtin", True)
    if proposal.upstreams:
        there = before.get("upstream", [])
        new = [dict(table.said) for table in proposal.upstreams]
        wanted["upstream"] = [*there, *new] if isinstance(there, list) else new
    roles = dict(_merged(before.get("roles"), proposal.roles))
    if roles and roles != before.get("roles"):
        wanted["roles"] = roles
    return wanted


def _merged(
    before: object, proposed: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, list[str] | str]]:
    """Yield the roles of the file with new models behind its own, then the new roles."""
    there = before if isinstance(before, dict) else {}
    named = {entry for entries in there.values() for entry in _entries(entries)}
    for role, entries in there.items():
        new = [model for model in proposed.get(fold(role), ()) if model not in named]
        yield role, [*_entries(entries), *new] if new else entries
    known = {fold(role) for role in there}
    yield from ((role, list(models)) for role, models in proposed.items() if role not in known)


def _entries(entries: object) -> list[str]:
    return [entries] if isinstance(entries, str) else list(entries)  # type: ignore[call-overload]


def _upstream(table: Table) -> str:
    lines = [f"[[upstream]]  # {table.title}"]
    for key, item in table.said.items():
        comment = f"  # {_COMMENTS[key]}" if key in _COMMENTS else ""
        lines.append(f"{key} = {value(item)}{comment}")
    return "\n".join(lines) + "\n"


def _table_of_roles(roles: Mapping[str, object]) -> str:
    lines = ["[roles]"]
    for role, entries in roles.items():
        name = role if _BARE.fullmatch(role) else value(role)
        listed = _entries(entries)
        if len(listed) == 1 or isinstance(entries, str):
            lines.append(f"{name} = {value(entries)}")
        else:
            lines += [f"{name} = [", *(f"    {value(entry)}," for entry in listed), "]"]
    return "\n".join(lines) + "\n"
