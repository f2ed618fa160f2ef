"""How much memory this process takes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import mlx.core as mx


def resident_bytes() -> int:
    """Memory of this process; on macOS its peak, or MLX's buffers if they are more."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(peak, mx.get_active_memory())
