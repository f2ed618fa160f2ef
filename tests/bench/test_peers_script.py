"""scripts/bench-peers: what it refuses before it installs or starts anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench-peers"


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "LATTICE_BENCH_PYTHON": sys.executable,
        "LATTICE_PEERS_DIR": str(tmp_path / "peers"),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "3"], "unknown flag --rounds (flags of bench come after --)"),
        (["--peers", ""], "--peers needs a list"),
        (["--peers", "a b"], "--peers takes"),
        (["--peers", "mlx-lm,litellm"], "it goes alone"),
        (["a", "b", "c"], "two models at most"),
        (["--check", "--peers", "a b"], "--peers takes"),
    ],
)
def test_wrong_use_starts_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, *arguments)

    assert done.returncode != 0
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_model_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    done = run(tmp_path, str(tmp_path))

    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_the_help_is_the_comment_at_its_top(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith("Measure lattice-trio beside other servers")
    assert "LATTICE_PEERS_DIR" in done.stdout
    assert "#" not in done.stdout
