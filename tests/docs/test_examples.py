"""The code blocks of README and docs, run as they stand against a server on the echo engine.

How an author says what is to be done with a block: `blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lattice_bench.echo_model import write_echo_model
from tests.docs.forking import forks
from tests.docs.running import ROOT, Bench, pages
from tests.docs.stand_in import meant
from tests.end_to_end.serving import SOURCES, Served, start

MODELS = ("SmolLM2-135M-Instruct", "Qwen3-4B-4bit", "Qwen3-Coder-30B-4bit")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three models that echo what they are asked."""
    root = tmp_path_factory.mktemp("models")
    for name in MODELS:
        write_echo_model(root / name, cycles=1)
    served = start(
        *("--model-root", str(root), "--engine-module", "lattice_actors.engine.echo"),
        *("--max-resident-models", str(len(MODELS))),
        HOME=str(root),
    )
    served.wait_until_listening()
    yield served
    served.stop()
    served.client.close()
    assert served.process.stderr is not None
    served.process.stderr.close()


@pytest.fixture(scope="session")
def program() -> Iterator[str]:
    """The command that `lattice-trio` is on a page."""
    with forks({"PYTHONPATH": SOURCES}) as command:
        yield command


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()]
)
def test_the_blocks_of_a_page_do_what_they_say(
    server: Served, program: str, tmp_path: Path, page: Path
) -> None:
    assert list(Bench(server.url, tmp_path, program=program).run(page)) == []


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ("```bash\ncurl -s http://127.0.0.1:5001/v1/nothing\n```", "exit code 22"),
        ("```bash\nlattice-trio serve --prot 1\n```", "exit code 2"),
        ("```bash\n./scripts/nothing\n```", "exit code 127"),
        ("```toml\nprot = 1\n```", "SettingsError"),
        ("```json\n{a: 1}\n```", "JSONDecodeError"),
        ("```mermaid\n\n```", "nothing in it"),
        ("```rust\nfn main() {}\n```", "nobody runs"),
        ("```python\nx = 1\n```\n```python\nassert x == 2\n```", "page.md"),
        (
            "<!-- not run: takes too long -->\n```bash\nlattice-trio bench --reqests 9\n```",
            "exit code 2",
        ),
        ("<!-- prints: no -->\n```bash\necho yes\n```", "does not print 'no'"),
        ("<!-- not run: no reason -->\n```bash\ntrue\n```", "none of the reasons"),
    ],
)
def test_a_block_that_is_wrong_is_found(
    server: Served, program: str, tmp_path: Path, page: str, wrong: str
) -> None:
    path = tmp_path / "page.md"
    path.write_text(page)

    [found] = Bench(server.url, tmp_path, program=program).run(path)

    assert found.startswith("page.md")
    assert wrong in found


@pytest.mark.parametrize(
    ("argv", "run"),
    [
        ("serve --port 1", "config --port 1"),
        ("serve --help", "serve --help"),
        ("top", "top --base-url URL --once --json"),
        ("top --json --base-url x", "top --json --base-url x --once"),
        ("bench --requests 2", "bench --requests 2 --base-url URL"),
        ("bench gateway", "bench gateway"),
        ("config --json", "config --json"),
    ],
)
def test_what_a_page_calls_is_what_is_run(
    monkeypatch: pytest.MonkeyPatch, argv: str, run: str
) -> None:
    monkeypatch.setenv("DOCS_URL", "URL")

    assert meant(argv.split()) == run.split()
