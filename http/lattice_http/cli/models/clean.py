"""What may be removed: prepared models nobody looks for any more, and pulls that never ended.

Nothing of it is a model that somebody put there: prepared ones are made again from the package
they came from, and an interrupted pull begins anew.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from lattice_actors.engine import builtin
from lattice_actors.engine.builtin import FLOAT32, QUANTISED

from .here import disk_bytes
from .pull import DRAFTS

_KEY = re.compile(r"[0-9a-f]{12}-\d+-\w+")  # `builtin.directory`: source, format, precision


@attrs.frozen
class Leftover:
    """One folder that may go."""

    path: Path
    what: str
    bytes: int
    busy: bool = False  # somebody writes there now: it stays


def prepared(*, also_current: bool) -> Iterator[Leftover]:
    """Yield prepared models of other versions, drafts of killed preparations, and, if wanted, the
    model that the next start would use. `LATTICE_CACHE_DIR` names the cache.
    """
    current = {builtin.directory(precision).parent for precision in (FLOAT32, QUANTISED)}
    folder = builtin.directory().parent.parent
    for key in _directories(folder):
        if not _KEY.fullmatch(key.name):
            continue  # not ours: the cache may have been pointed at a folder of models
        busy = _is_locked(key / ".lock")
        if key not in current:
            yield Leftover(key, "prepared by another version", disk_bytes(key), busy)
            continue
        for draft in key.glob(".draft-*"):
            yield Leftover(draft, "a preparation that never ended", disk_bytes(draft), busy)
        whole = key / builtin.MODEL_ID
        if also_current and whole.is_dir():
            what = "the prepared built-in model; the next start makes it again"
            yield Leftover(whole, what, disk_bytes(whole), busy)


def pulls(root: Path) -> Iterator[Leftover]:
    """Yield the pulls into *root* that were not finished."""
    for draft in _directories(root / DRAFTS):
        what = f"an unfinished pull of {draft.name.replace('--', '/', 1)}"
        yield Leftover(draft, what, disk_bytes(draft), _is_locked(draft))


def remove(leftover: Leftover) -> None:
    """Remove it. Raises OSError when that fails."""
    shutil.rmtree(leftover.path)
    parent = leftover.path.parent
    if parent.name == DRAFTS and not any(parent.iterdir()):
        parent.rmdir()


def _directories(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _is_locked(lock: Path) -> bool:
    """Return whether a process holds *lock*, a file or a folder."""
    try:
        file = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
