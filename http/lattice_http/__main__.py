"""`python -m lattice_http` is the `lattice-trio` program."""

from __future__ import annotations

import sys

from .cli.program import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
