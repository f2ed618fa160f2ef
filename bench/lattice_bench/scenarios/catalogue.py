"""All scenarios, by name. Pure."""

from __future__ import annotations

from .history import PREFIX, turns
from .neighbours import ALTERNATE, CROWD, LONG
from .pressure import ABORT, BURST
from .schema import DOCUMENTS
from .shape import Scenario, Sizes
from .streams import SINGLE, STREAMS
from .swarm import swarm

ALL = "all"


class UnknownScenario(ValueError):
    """There is no scenario of that name; the text lists those there are."""


def catalogue(sizes: Sizes) -> dict[str, Scenario]:
    """Return the scenarios in the order in which they are run."""
    scenarios = (
        *(SINGLE, STREAMS, PREFIX, turns(sizes.turns), LONG),
        *(ALTERNATE, CROWD, BURST, ABORT, DOCUMENTS, swarm(sizes.samples)),
    )
    return {scenario.name: scenario for scenario in scenarios}


def choose(names: str, sizes: Sizes) -> list[Scenario]:
    """Return the scenarios of a list such as ``single,burst``, or ``all``.

    Raises:
        UnknownScenario: one of them does not exist.
    """
    known = catalogue(sizes)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == [ALL]:
        return list(known.values())
    for name in wanted:
        if name not in known:
            raise UnknownScenario(f"no scenario {name!r}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]
