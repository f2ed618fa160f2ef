"""What is due: grants, swaps that begin, models that have drained or are wanted. Pure.

All of it follows from the places as they are, so it does not matter which news came first.
"""

from __future__ import annotations

from typing import Generic

import attrs

from .forecast import Forecast
from .gangs import patient
from .outlook import Outlook, due_at
from .places import Places
from .residence import Residence, Stream, Swap
from .verdicts import Drained, Granted, K, Limits, Phase, Unwant, Verdict, Want


@attrs.define(eq=False)
class Settling(Generic[K]):
    """Draws every consequence that is due, in one order."""

    limits: Limits
    forecast: Forecast
    places: Places[K]
    swaps: dict[str, Swap] = attrs.field(factory=dict[str, Swap])  # by wanted model
    _turns: int = 0

    def what_if(self) -> Settling[K]:
        """Return one with places of its own, to see what would follow."""
        return Settling(self.limits, self.forecast, self.places.copy(), self.swaps, self._turns)

    def outlook(self) -> Outlook[K]:
        """Return the places, read for predictions."""
        return Outlook(self.limits, self.forecast, self.places.homes, self.swaps)

    def settle(self, now: float) -> list[Verdict[K]]:
        """Return all that follows."""
        # Grants first: a model that has just come serves before it can be told to go again.
        return [*self.grants(now), *self._due_swaps(now), *self._drained(now), *self._wants(now)]

    def grants(self, now: float) -> list[Verdict[K]]:
        """Let run whoever can, the next in order first."""
        places = self.places
        places.age(now)
        verdicts: list[Verdict[K]] = []
        while not 0 < self.limits.streams_total <= len(places.running):
            offers = [
                (level, home.last_turn, home.model)
                for home in places.homes.values()
                if len(home.line)
                and (level := home.line.level_of_next(home.fits)) is not None
                and not self.outlook().group_is_full(home)
            ]
            if not offers:
                break
            home = places.homes[min(offers)[2]]
            waiter = home.line.take(home.fits)
            assert waiter is not None
            self._turns += 1
            home.last_turn = self._turns
            places.run(waiter.ticket, Stream(waiter.facts, now), home.model)
            patient(waiter.facts.gang, places.homes)
            verdicts.append(Granted(waiter.ticket, max(0.0, now - waiter.facts.arrived)))
        return verdicts

    def begin(self, swap: Swap, now: float) -> list[Verdict[K]]:
        """From here on *swap* is irrevocable: its victims serve nobody new."""
        swap.begun = True
        return [v for victim in swap.victims for v in self.drain(self.places.home(victim), now)]

    def drain(self, home: Residence[K], now: float) -> list[Verdict[K]]:
        """Let what runs on *home* end, and nothing new begin."""
        if home.phase is Phase.READY:
            home.move(Phase.DRAINING, now)  # `_drained` tells when it is done
            return []
        # Nothing of it runs here. To be told again is to be answered again.
        return [Drained(home.model)] if home.phase is not Phase.DRAINING else []

    def _due_swaps(self, now: float) -> list[Verdict[K]]:
        homes = self.places.homes
        verdicts: list[Verdict[K]] = []
        for swap in list(self.swaps.values()):
            if swap.begun or not len(homes[swap.model].line):
                continue
            if due_at(swap, homes, self.limits) <= now:
                verdicts += self.begin(swap, now)
        return verdicts

    def _drained(self, now: float) -> list[Verdict[K]]:
        done = [
            home
            for home in self.places.homes.values()
            if home.phase is Phase.DRAINING and not home.streams
        ]
        for home in done:
            home.move(Phase.DRAINED, now)
        return [Drained(home.model) for home in done]

    def _wants(self, now: float) -> list[Verdict[K]]:
        verdicts: list[Verdict[K]] = []
        for home in self.places.homes.values():
            swap = self.swaps.get(home.model)
            if len(home.line):
                if home.phase is Phase.COLD:
                    home.move(Phase.WANTED, now)
                    verdicts.append(Want(home.model))
            elif home.phase is Phase.WANTED or swap is not None:
                if home.load_begun or (swap is not None and swap.begun):
                    continue  # irrevocable: it will be there for the next one
                self.swaps.pop(home.model, None)
                if home.phase is Phase.WANTED:
                    home.move(Phase.COLD, now)
                verdicts.append(Unwant(home.model))
        return verdicts
