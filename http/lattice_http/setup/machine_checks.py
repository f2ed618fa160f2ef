"""Is this machine fit to run models? Verdicts on what was measured of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from lattice_actors.engine.blas import REMEDY as GET_OPENBLAS

from .verdicts import Verdict, fine, warning

LEAST_PYTHON = (3, 11)
SPARE_BYTES = 100_000_000  # in the cache besides the built-in model: a copy of OpenBLAS, logs


@attrs.frozen
class PlatformFacts:
    """What runs us."""

    python: tuple[int, int, int]
    system: str  # as `sys.platform`
    machine: str  # as `platform.machine()`

    @property
    def has_mlx(self) -> bool:
        """Whether there are MLX wheels for it."""
        return self.system == "linux" or (self.system == "darwin" and self.machine == "arm64")


@attrs.frozen
class TrialFacts:
    """What a process like an engine's said of its arithmetic."""

    blas: str = ""  # as `blas.prepare` names it; "": MLX could not be used at all
    mlx: str = ""  # its version
    gflops: float = 0.0
    said: str = ""  # the last line of its stderr: why it is slow, or why there is nothing


@attrs.frozen
class MemoryFacts:
    """Bytes."""

    physical: int | None  # None: the system does not say
    available: int | None
    allowed: int | None  # what a container may use
    budget: int
    needs: tuple[tuple[str, int], ...] = ()  # of each model of this machine, cache included


@attrs.frozen
class CacheFacts:
    """The folder of what can be made again."""

    folder: Path
    problem: str  # why nothing can be written there; "": it can
    free_bytes: int
    wanted_bytes: int = 0  # of what is still to be made


def check_platform(facts: PlatformFacts) -> Iterator[Verdict]:
    """Python and the system."""
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < LEAST_PYTHON:
        yield warning("python", version, "use Python 3.11 or later")
    else:
        yield fine("python", version)
    where = f"{facts.system} {facts.machine}"
    if facts.has_mlx:
        yield fine("platform", where)
    else:
        remedy = (
            "name other servers as upstreams; models of this machine need Linux or Apple silicon"
        )
        yield warning("platform", f"{where}, for which there is no MLX", remedy)


def check_arithmetic(platform: PlatformFacts, trial: TrialFacts) -> Verdict:
    """What MLX multiplies with."""
    if not platform.has_mlx:
        return fine("blas", "not tried: there is no MLX for this platform")
    if not trial.blas:
        remedy = "install lattice-trio again in an empty environment; other servers work without"
        return warning("blas", f"MLX cannot be used: {trial.said or 'no word of it'}", remedy)
    found = f"{trial.blas}, {trial.gflops:g} GFLOPS with MLX {trial.mlx}"
    if trial.blas == "reference":
        remedy = f"{GET_OPENBLAS}; or on Debian and Ubuntu: apt install libopenblas0-pthread"
        reason = f" ({trial.said})" if trial.said else ""
        return warning("blas", f"{found}: prompts are read some 30 times slower{reason}", remedy)
    return fine("blas", found)


def check_memory(facts: MemoryFacts) -> Iterator[Verdict]:
    """The budget against the machine, and each model against the budget."""
    budget = gb(facts.budget)
    remedy = "lower it with --memory-budget-bytes"
    limits = [limit for limit in (facts.allowed, facts.physical) if limit]
    available = "" if facts.available is None else f", {gb(facts.available)} free now"
    if limits and facts.budget > min(limits):
        what = "the container may use" if facts.allowed == min(limits) else "the machine has"
        yield warning("memory", f"budget {budget}, but {what} only {gb(min(limits))}", remedy)
    elif facts.available is not None and facts.needs and facts.available < facts.budget / 2:
        found = f"budget {budget}{available}: other programs have the rest"
        yield warning("memory", found, f"close some, or {remedy}")
    else:
        yield fine("memory", f"budget {budget}{available}")
    for model, needs in facts.needs:
        if needs > facts.budget:
            yield warning(
                "memory",
                f"{model} needs {gb(needs)} and can never be loaded",
                "raise --memory-budget-bytes where there is more, or get a smaller version of it",
            )


def check_cache(facts: CacheFacts) -> Verdict:
    """Whether the built-in model and OpenBLAS can be made ready."""
    found = f"{facts.folder}, {gb(facts.free_bytes)} free"
    if facts.problem:
        remedy = "name a folder that can be written with LATTICE_CACHE_DIR"
        return warning("cache", f"{facts.folder}: {facts.problem}", remedy)
    if facts.free_bytes < facts.wanted_bytes + SPARE_BYTES:
        wanted = gb(facts.wanted_bytes + SPARE_BYTES)
        return warning("cache", f"{found}, {wanted} are needed", "make room, or LATTICE_CACHE_DIR")
    return fine("cache", found)


def gb(size_bytes: int) -> str:
    """Return a size for a person."""
    return f"{size_bytes / 1e9:.1f} GB"
