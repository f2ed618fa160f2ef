"""Where this program keeps what it can make again: the renamed OpenBLAS, the built-in model."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder; it need not exist yet.

    ``LATTICE_CACHE_DIR`` names it outright; else it is ``lattice-trio`` under ``XDG_CACHE_HOME``
    (ignored when relative, as the XDG base directory specification asks) or ``~/.cache``.

    Raises:
        RuntimeError: the user has no home directory.
    """
    if chosen := os.environ.get("LATTICE_CACHE_DIR"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "lattice-trio"
