"""Servers for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.serving import Served, servers


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers; those that still run at the end of the module are ended."""
    with servers() as serve:
        yield serve


@pytest.fixture(scope="session")
def builtin(cache: Path) -> Iterator[Served]:
    """The built-in model, for every test that leaves server and engine as they were.

    To start both takes longer than most tests of a real model do.
    """
    with servers() as serve:
        yield serve(LATTICE_CACHE_DIR=str(cache), HOME=str(cache))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory that is empty at first, as on a fresh machine; all workers share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder
