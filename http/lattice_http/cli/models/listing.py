"""What `lattice-trio models` shows: what lies here, and what a server says of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from .text import count, size, table

ON_DISK = "on disk"  # nobody was there to ask whether it is loaded
UNUSABLE = "unusable"


@attrs.frozen
class Row:
    """One model, here or at the server."""

    id: str
    state: str  # of the server, ON_DISK or UNUSABLE
    kind: str | None = None
    backend: str = "mlx"
    path: Path | None = None
    disk_bytes: int | None = None  # all files of its directory
    memory_bytes: int | None = None  # what a load of it reserves
    context_tokens: int | None = None
    reason: str | None = None  # why it is unusable


@attrs.frozen
class Served:
    """What a server answers to ``GET /v1/models?unusable``."""

    url: str
    models: tuple[Mapping[str, Any], ...] = ()
    unusable: tuple[Mapping[str, Any], ...] = ()


def merged(here: Iterable[Row], served: Served | None) -> tuple[Row, ...]:
    """Return all rows: *here* with the server's states, then what only the server has."""
    rows = {row.id: row for row in here}
    for model in served.models if served is not None else ():
        known = rows.get(str(model.get("id")))
        state = str(model.get("state") or ON_DISK)
        if known is not None and known.state != UNUSABLE:
            rows[known.id] = attrs.evolve(known, state=state)
        elif known is None:
            rows[str(model.get("id"))] = Row(
                id=str(model.get("id")),
                state=state,
                kind=model.get("kind"),
                backend=str(model.get("owned_by")),
                context_tokens=model.get("context_length"),
            )
    for broken in served.unusable if served is not None else ():
        name = str(broken.get("id"))
        rows.setdefault(name, Row(name, UNUSABLE, reason=str(broken.get("reason"))))
    usable = [row for row in rows.values() if row.state != UNUSABLE]
    return (*usable, *(row for row in rows.values() if row.state == UNUSABLE))


def as_table(
    rows: Iterable[Row], root: Path | None, served: Served | None, problem: str | None
) -> str:
    """Return the list for a person; *problem*: why no server was heard."""
    rows = tuple(rows)
    lines = []
    usable = [row for row in rows if row.state != UNUSABLE]
    if usable:
        head = ("model", "state", "where", "kind", "on disk", "in memory", "context")
        lines += table(
            head,
            [
                (
                    row.id,
                    row.state,
                    row.backend,
                    row.kind or "-",
                    size(row.disk_bytes),
                    size(row.memory_bytes),
                    count(row.context_tokens),
                )
                for row in usable
            ],
        )
    else:
        lines.append("no model; `lattice-trio models pull REPO` gets one")
    broken = [row for row in rows if row.state == UNUSABLE]
    if broken:
        lines += ["", "cannot answer:"]
        lines += table(("model", "on disk", "why"), [_why(row) for row in broken])
    lines += ["", f"folder: {root or 'none'}"]
    lines.append("in memory: what a load reserves, with room for answers and kept prompts")
    lines.append(f"states: those of {served.url}" if served is not None else f"states: {problem}")
    return "\n".join(lines)


def as_json(
    rows: Iterable[Row], root: Path | None, served: Served | None, problem: str | None
) -> str:
    """Return the same for a program; *problem*: why no server was heard."""
    models = [{**attrs.asdict(row), "path": str(row.path) if row.path else None} for row in rows]
    content = {
        "root": str(root) if root is not None else None,
        "server": served.url if served is not None else None,
        "server_problem": problem,
        "models": models,
    }
    return json.dumps(content, indent=2)


def _why(row: Row) -> tuple[str, str, str]:
    return row.id, size(row.disk_bytes), row.reason or ""
