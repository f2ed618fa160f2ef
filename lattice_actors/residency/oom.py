"""Did it die of memory? From what a process says, and from what the kernel counted.

The words are those of Local Lattice, without a bare "killed": a connection may be killed
by its peer. A kill without words is the kernel's if its own counter grew meanwhile, else
somebody's: an operator's `kill -9` must not shrink the memory budget.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

VMSTAT = Path("/proc/vmstat")

_WORDS = re.compile(
    r"\b(out of memory|oom|resource[ _-]exhausted|std::bad_alloc|allocation failed)\b"
    r"|insufficient system resources|would likely overload your system|model loading was stopped"
    r"|kIOGPUCommandBufferCallbackErrorOutOfMemory|\[metal::malloc\]",
    re.IGNORECASE,
)


def says_oom(text: str) -> bool:
    """Whether *text* speaks of memory that ran out."""
    return _WORDS.search(text) is not None


def kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0: unknown."""
    try:
        for line in VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def died_of_memory(returncode: int | None, last_words: list[str], kills: int) -> bool:
    """Judge a dead process; *kills*: how many the kernel has killed in its life time."""
    if says_oom("\n".join(last_words)):
        return True
    return returncode == -signal.SIGKILL and kills > 0
