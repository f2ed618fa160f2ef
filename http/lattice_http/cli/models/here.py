"""What lies on this machine, as a server with the same settings would find it."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from lattice_actors.catalog import discovery
from lattice_actors.catalog.entry import ModelEntry, Snapshot, Unusable
from lattice_actors.engine import builtin
from lattice_actors.residency.needs import needed_bytes
from lattice_actors.settings import Settings
from lattice_http.cli import parts

from .listing import ON_DISK, UNUSABLE, Row

FALLBACK_ROOT = "~/.cache/mlx-models"  # made by the first pull; a server looks there by itself


def use_cache(settings: Settings) -> None:
    """Let `builtin` look where a server with *settings* would."""
    os.environ["LATTICE_CACHE_DIR"] = str(settings.cache_dir)


def scan(settings: Settings) -> Snapshot:
    """Return the models and what only looks like one; the prepared built-in model last."""
    use_cache(settings)
    found = parts.scanner(settings)()
    entry = parts.builtin_entry(builtin.prepared())
    if entry is None or settings.model is not None or found.get(entry.id) is not None:
        return found
    return attrs.evolve(found, models=(*found.models, entry))


def rows(found: Snapshot, settings: Settings) -> list[Row]:
    """Return what `models` shows of *found*, without anything a server knows."""
    usable = [
        Row(
            id=entry.id,
            state=ON_DISK,
            kind=entry.kind.value,
            path=entry.path,
            disk_bytes=disk_bytes(entry.path) if entry.path else None,
            memory_bytes=reserved_bytes(entry, settings),
            context_tokens=entry.context_tokens,
        )
        for entry in found.models
    ]
    broken = [
        Row(one.id, UNUSABLE, path=one.path, disk_bytes=disk_bytes(one.path), reason=one.reason)
        for one in found.unusable
    ]
    return [*usable, *broken]


def reserved_bytes(entry: ModelEntry, settings: Settings) -> int:
    """Return what a server with *settings* reserves when it loads *entry*."""
    budget = parts.budget(settings).memory_bytes
    return needed_bytes(entry, budget, parts.engines(settings, 1).prefix_cache_bytes)


def find(found: Snapshot, wanted: str) -> ModelEntry | Unusable | list[str]:
    """Return the model with this id, or the one with this text in its id; else what may be meant.

    Case counts only where two ids differ in nothing else.
    """
    everything: tuple[ModelEntry | Unusable, ...] = (*found.models, *found.unusable)
    folded = wanted.casefold()
    matches = (
        [one for one in everything if one.id == wanted]
        or [one for one in everything if one.id.casefold() == folded]
        or [one for one in everything if folded in one.id.casefold()]
    )
    return matches[0] if len(matches) == 1 else [one.id for one in matches]


def examine(path: Path) -> ModelEntry | Unusable:
    """Return what is in the directory *path*."""
    return discovery.examine(path, path.resolve().name)


def root_of(settings: Settings) -> Path:
    """Return the folder where a new model goes; it need not exist."""
    if settings.model_root is not None:
        return settings.model_root
    return discovery.default_root() or Path(FALLBACK_ROOT).expanduser()


def disk_bytes(directory: Path) -> int:
    """Return the size of all files in *directory*; what cannot be read counts nothing."""
    total = 0
    for folder, _, names in os.walk(directory, followlinks=False):
        for name in names:
            try:
                total += Path(folder, name).stat().st_size  # of what a link leads to
            except OSError:
                continue
    return total
