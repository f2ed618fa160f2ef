"""The examples below the help of the bench's commands, and how examples are written. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

BENCH = "bench"

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    BENCH: (
        ("bench --requests 4 --max-tokens 8", "a short look at the server on this machine"),
        ("bench --base-url http://mac.local:5001 --concurrency 1,4,8", "another, more of it"),
        ("bench --scenario list", "the scenarios there are"),
    ),
    "bench table": (
        ("bench table --out table --base-url http://127.0.0.1:5001 --trial", "does it all work?"),
        ("bench table --out table --pending", "what is still to be measured"),
    ),
    "bench soak": (
        ("bench soak --requests 200", "what the processes hold after 200 requests"),
        ("bench soak --model ~/models/Qwen3-4B-4bit --concurrency 8", "with a model of yours"),
    ),
    "bench swarm-quality": (
        ("bench swarm-quality --tasks 12", "are several answers better than one?"),
        ("bench swarm-quality --model role:fast --json quality.json", "kept"),
    ),
    "bench gateway": (
        ("bench gateway", "what the gateway itself costs; starts servers of its own"),
        ("bench gateway --starts 1 --rest-s 2 --json gateway.json", "the short way"),
    ),
    "bench watching": (
        ("bench watching", "what it costs to be watched by 100 pages"),
        ("bench watching --sockets 10 --seconds 3", "the short way"),
    ),
}


def epilogue(command: str, examples: Mapping[str, Iterable[tuple[str, str]]] = EXAMPLES) -> str:
    """Return what stands below the help of *command*."""
    lines = ["Examples:"]
    for line, about in examples[command]:
        lines += [f"  lattice-trio {line}", f"      {about}"]
    return "\n".join(lines)
