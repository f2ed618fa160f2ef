"""What an engine process tells the model actor that owns it: only what changes a state."""

from __future__ import annotations

import attrs

from . import frames


@attrs.frozen
class EngineReady:
    """The engine has loaded its model."""

    ready: frames.Ready


@attrs.frozen
class EngineRefusedLoad:
    """The model cannot be loaded; the process goes away by itself."""

    reason: str
    permanent: bool


@attrs.frozen
class StreamEnded:
    """The engine has said its last word on a stream (or was cut off from it)."""

    rid: int


@attrs.frozen
class EngineGone:
    """The process has been reaped. *wanted*: we asked for it.

    Streams that are still open are the actor's to end or to begin again.
    """

    reason: str
    returncode: int | None
    wanted: bool


@attrs.frozen
class FirstToken:
    """A stream begun with *announce* has its first token."""

    rid: int


EngineNews = EngineReady | EngineRefusedLoad | FirstToken | StreamEnded | EngineGone
