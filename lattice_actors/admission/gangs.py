"""Swarms in the queue: who is let in together, and in which order their models are loaded. Pure.

A gang is let in whole or not at all, and then its tickets wait and run like any others, each for
itself. It has no place, slot or lease of its own, so two gangs can never wait for each other.
What is different for a member is only this:

- one that may not be granted yet is *held*: it has taken its place in the queue, nothing else;
- once one member has been granted, the others are not refused for their wait budget any more;
- a member does not make a model go for which another member of its gang still waits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import attrs

from .residence import Residence
from .verdicts import Facts, K, Phase

Members = Sequence[tuple[K, Facts]]


def in_turn(
    branches: Members[K], later: Members[K], homes: Mapping[str, Residence[K]]
) -> list[str]:
    """The models of *branches* in the order of loading: each is loaded once if nobody disturbs.

    Resident first; then those that nobody needs later, so that a judge finds its model still
    there; then most branches.
    """
    counts = Counter(facts.model for _, facts in branches)
    needed_later = {facts.model for _, facts in later}

    def turn(model: str) -> tuple[bool, bool, int]:
        asleep = homes[model].phase is not Phase.READY
        return (asleep, model in needed_later, -counts[model])

    return sorted(counts, key=turn)


def patient(gang: str | None, homes: Mapping[str, Residence[K]]) -> None:
    """A member of *gang* was granted: the others are waited for, or it was paid for in vain."""
    if gang is None:
        return
    for home in homes.values():
        for waiter in home.line.waiters:
            if waiter.facts.gang == gang and waiter.facts.wait_until < math.inf:
                waiter.facts = attrs.evolve(waiter.facts, wait_until=math.inf)


def wanted_since(
    wanted: Residence[K], victims: Collection[Residence[K]], homes: Mapping[str, Residence[K]]
) -> float:
    """Since when *victims* should go for *wanted*, seconds; infinity: nobody is served by it yet.

    A member whose gang still waits for a victim does not count: it would only have to come back.
    But wants are served in the order of their coming, so *wanted* must not keep the memory from
    whoever waits behind it: if only such members wait for it, the others' clock counts.
    """
    unfinished = {waiter.facts.gang for home in victims for waiter in home.line.waiters} - {None}

    def since(home: Residence[K]) -> float:
        waiters = (w.facts for w in home.line.waiters if w.facts.gang not in unfinished)
        return min((facts.arrived for facts in waiters), default=math.inf)

    oldest = since(wanted)
    if not any(waiter.facts.gang in unfinished for waiter in wanted.line.waiters):
        # Not only the oldest waiter's clock: it would start anew whenever that one leaves.
        return min(oldest, wanted.since if wanted.phase is Phase.WANTED else math.inf)
    if oldest < math.inf:
        return oldest
    asleep = (h for h in homes.values() if h.phase is not Phase.READY and not h.load_begun)
    return min((since(home) for home in asleep), default=math.inf)
