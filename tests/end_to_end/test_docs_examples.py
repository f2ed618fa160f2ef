"""The code blocks of README and docs that need a real model; tests/docs runs all the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.running import ROOT, Bench, pages
from tests.end_to_end.serving import Served
from tests.engine.tiny_bert import write_tiny_bert

pytestmark = pytest.mark.smollm2

REAL = [page for page in pages() if any(block.real for block in blocks(page.read_text("utf-8")))]


@pytest.fixture(scope="module")
def server(
    serve: Callable[..., Served], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Served:
    """The built-in model, and an embedding model that is tiny."""
    root = tmp_path_factory.mktemp("models")
    write_tiny_bert(root / "tiny-bert")
    return serve(
        *("--builtin", "--model-root", str(root)), LATTICE_CACHE_DIR=str(cache), HOME=str(cache)
    )


def test_there_are_such_blocks() -> None:
    assert REAL


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in REAL]
)
def test_the_blocks_of_a_page_do_what_they_say(server: Served, tmp_path: Path, page: Path) -> None:
    assert list(Bench(server.url, tmp_path, real=True).run(page)) == []
