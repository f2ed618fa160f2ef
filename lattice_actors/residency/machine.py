"""What this machine has: memory for models, cores for engines. Read once at start."""

from __future__ import annotations

import os

MODELS_SHARE = 0.75  # of the physical memory; the rest is for the system and what else runs
# A power of two of clock ticks for which a BLAS thread without work keeps its core busy; the least
# that OpenBLAS takes. Its own 26 (some 30 ms) is taken from whoever else could use the core.
BRIEF_SPIN = "4"
FALLBACK_BYTES = 8 * 1024**3  # where the system does not say how much it has


def memory_budget_bytes(wanted: int) -> int:
    """Return *wanted*, or where it is 0 a share of the physical memory."""
    if wanted:
        return wanted
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return FALLBACK_BYTES
    return int(physical * MODELS_SHARE)


def engine_threads(most_engines: int) -> int:
    """Return the BLAS threads of one engine: the cores shared among all that may run at once.

    Decided once, for the most engines there can be: the threads of a product wait for each other,
    so one that does not get its core stops all of them (docs/platforms.md has the figures).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // max(1, most_engines))


def engine_environment(most_engines: int) -> dict[str, str]:
    """Return the environment that gives an engine its share of the cores."""
    threads = str(engine_threads(most_engines))
    wanted = {
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_THREAD_TIMEOUT": BRIEF_SPIN,
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}
