"""The servers of the tests from end to end serve these, too."""

from __future__ import annotations

from tests.end_to_end.conftest import cache, serve

__all__ = ["cache", "serve"]
