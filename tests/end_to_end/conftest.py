"""Servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.serving import Served, start


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers; those that still run at the end of the module are ended."""
    started: list[Served] = []

    def serve_one(*args: str, **environ: str) -> Served:
        served = start(*args, **environ)
        started.append(served)
        served.wait_until_listening()
        return served

    yield serve_one
    for served in started:
        served.client.close()
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()
        assert served.process.stderr is not None
        served.process.stderr.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache directory, as on a fresh machine."""
    return tmp_path_factory.mktemp("cache")
