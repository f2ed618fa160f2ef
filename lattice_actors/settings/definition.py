"""Every setting there is, once. Pure.

Its default, meaning, unit and the names it can be given by stand in the class of its area. The
command line, `docs/configuration.md` and the reader of the environment and `lattice.toml` are all
made from these classes. A field without an effect has no place here.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .elsewhere import Cloud, OtherServers
from .fields import Setting, setting_of
from .front import Access, Dashboard, Server
from .models import Engine, Memory, Models
from .requests import Answers, Queue, Swarms


# attrs puts the fields of the last base first: read upwards, this is the order of `AREAS`.
@attrs.frozen(slots=False)
class Settings(
    Server, Dashboard, Engine, Cloud, OtherServers, Swarms, Queue, Answers, Memory, Models, Access
):
    """The settings a server runs with. Made by `lattice_actors.settings.read`."""


# The order and the headings of help and documentation.
AREAS: Mapping[str, type[attrs.AttrsInstance]] = {
    "Address and access": Access,
    "Models": Models,
    "Memory": Memory,
    "Answers": Answers,
    "Queue": Queue,
    "Swarms": Swarms,
    "Other servers": OtherServers,
    "The cloud": Cloud,
    "Engine": Engine,
    "Dashboard": Dashboard,
    "Server": Server,
}

SETTINGS: Mapping[str, Setting] = {
    field.name: setting_of(field) for field in attrs.fields(Settings)
}


def grouped() -> Mapping[str, tuple[Setting, ...]]:
    """Return all settings, the hidden ones too, under their headings."""
    return {
        heading: tuple(SETTINGS[field.name] for field in attrs.fields(area))
        for heading, area in AREAS.items()
    }
