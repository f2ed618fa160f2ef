"""The page of a real model is served from the cache of the tests from end to end."""

from __future__ import annotations

from tests.end_to_end.conftest import cache

__all__ = ["cache"]
