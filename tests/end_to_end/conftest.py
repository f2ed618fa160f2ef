"""Servers for the tests of this folder."""

from __future__ import annotations

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
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache directory, as on a fresh machine."""
    return tmp_path_factory.mktemp("cache")
