"""What the terminal is told of the models when the server starts."""

from __future__ import annotations

from pathlib import Path

from lattice_actors.catalog.entry import Snapshot
from lattice_actors.engine import builtin

SHOWN = 3  # ids and reasons in one line; GET /v1/models?unusable has all


def greeting(found: Snapshot, model_root: Path | None) -> list[str]:
    """Return the lines about *found*, where *model_root* is the folder that was asked for."""
    lines = []
    if model_root is not None and not model_root.is_dir():
        lines.append(f"warning: the model root {model_root} is not a folder")
    if found.models:
        ids = [f"{model.id} (built in)" if model.builtin else model.id for model in found.models]
        lines.append(f"models: {_some(ids)}")
    else:
        lines.append(f"there is no model yet: use --model-root, or {builtin.INSTALL}")
    if found.unusable:
        reasons = [f"{broken.id} ({broken.reason})" for broken in found.unusable]
        lines.append(f"warning: cannot answer: {_some(reasons)}; see GET /v1/models?unusable")
    return lines


def _some(texts: list[str]) -> str:
    rest = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
