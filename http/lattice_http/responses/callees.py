"""What the tools of Responses are called in a chat, where all are functions. Values only.

A function of a namespace is called ``namespace__name`` there. Nobody cuts such a name up again:
each request has a table of its own that says what the function of a chat stands for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Literal

import attrs

JOINT = "__"
MAX_NAME_CHARS = 64  # servers that we ask take no longer one
INPUT = "input"  # the argument that the free text of a custom tool is
SEARCH: Final = "tool_search"

Kind = Literal["function", "custom", "tool_search"]


@attrs.frozen
class Callee:
    """What a function of the chat stands for."""

    name: str
    kind: Kind = "function"
    namespace: str = ""  # "": none


Callees = Mapping[str, Callee]  # by the name in the chat


def flat_name(namespace: str | None, name: str) -> str:
    """Return what *name* of *namespace* is called in a chat.

    One that is too long is cut, and ends with a mark of its own, always the same.
    """
    if not namespace:
        return name
    joint = "" if namespace.endswith(JOINT) else JOINT
    flat = f"{namespace}{joint}{name}"
    if len(flat) <= MAX_NAME_CHARS:
        return flat
    mark = hashlib.sha256(f"{namespace}\0{name}".encode(errors="replace")).hexdigest()[:8]
    return f"{flat[: MAX_NAME_CHARS - 1 - len(mark)]}_{mark}"
