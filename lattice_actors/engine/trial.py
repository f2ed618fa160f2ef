"""What MLX multiplies with here, tried: ``python -m lattice_actors.engine.trial`` writes JSON.

A process of its own, made like an engine: which BLAS a process has is settled when MLX is loaded.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time

SIZE = 512  # of the square matrices: large enough that a fast BLAS is seen to be one
ROUNDS = 5


def main() -> None:
    """Load MLX as an engine does, multiply a few times, say what it was.

    The reference BLAS also says on stderr why it was taken.
    """
    from . import blas

    name = blas.prepare()
    import mlx.core as mx

    a, b = mx.random.normal((SIZE, SIZE)), mx.random.normal((SIZE, SIZE))
    mx.eval(a, b)
    best_s = min(_once(mx, a, b) for _ in range(ROUNDS))
    gflops = 2 * SIZE**3 / best_s / 1e9
    said = {"blas": name, "mlx": importlib.metadata.version("mlx"), "gflops": round(gflops, 1)}
    sys.stdout.write(json.dumps(said) + "\n")


def _once(mx: object, a: object, b: object) -> float:
    begun = time.perf_counter()
    mx.eval(a @ b)  # type: ignore[attr-defined,operator]  # mlx is imported where it is used
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
