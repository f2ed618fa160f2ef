"""What the dashboard's routes are handed by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import attrs
import trio

from lattice_actors.lattice import Lattice
from lattice_actors.settings import Settings


@attrs.frozen
class Desk:
    """The actors, the settings, and who may sit down."""

    lattice: Lattice
    settings: Settings
    is_key: Callable[[bytes], bool]
    leaving: trio.Event  # the server is going away: sockets are to be closed
    static: Path = attrs.field(factory=lambda: Path(str(files(__package__))) / "static")
    hello_s: float = 5.0  # a socket that has not shown the key by then is closed
