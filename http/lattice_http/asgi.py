"""The ASGI shapes, once. The standard types them as dictionaries of anything, so here is `Any`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]
# The arguments stay `Any`: Quart, Hypercorn and we each name the same dictionaries differently.
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
