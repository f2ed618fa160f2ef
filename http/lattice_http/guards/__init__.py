"""Hypercorn's protocol classes with their defects fenced in (docs/design/0005-serve-loop.md).

Nothing of Hypercorn is patched: each class here is a subclass, or stands in its place. Each
guard has a test that fails on plain Hypercorn, so an upgrade tells which may go.
"""

from .connection import Connection
from .inbox import Limits

__all__ = ["Connection", "Limits"]
