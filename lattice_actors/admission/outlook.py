"""Who will wait how long, as things stand: predictions and listings. Pure.

A prediction takes the queue as it is: the order of service now, running streams for their expected
rest, a load where the model is not ready. Newcomers and ageing are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Generic

import attrs

from . import gangs
from .deficit import Waiter
from .fairness import Line
from .forecast import MIN_REMAINING_FRACTION, Forecast
from .residence import Residence, Swap
from .verdicts import (
    Facts,
    K,
    Level,
    Limits,
    ModelView,
    Phase,
    Prediction,
    QueueView,
    SwapView,
    WaitingView,
)


def due_at(
    swap: Swap, homes: Mapping[str, Residence[K]], limits: Limits, newcomer_at: float = math.inf
) -> float:
    """When *swap* may begin: residence served, and nobody there waits or somebody here long enough.

    Victims that do not hold the model ready any more do not delay it; minus infinity: at once.
    Infinity: as long as those who need it still wait for a victim too (`gangs.wanted_since`).
    *newcomer_at*: somebody else would wait for it since then.
    """
    due = -math.inf
    ready = [homes[v] for v in swap.victims if v in homes and homes[v].phase is Phase.READY]
    wanted_since = min(gangs.wanted_since(homes[swap.model], ready, homes), newcomer_at)
    for home in ready:
        if wanted_since == math.inf:
            return math.inf
        due = max(due, home.since + limits.min_residence_s)
        if len(home.line):
            due = max(due, wanted_since + limits.collate_s)
    return due


@attrs.frozen
class Outlook(Generic[K]):
    """The state of the queue, read for predictions."""

    limits: Limits
    forecast: Forecast
    homes: Mapping[str, Residence[K]]
    swaps: Mapping[str, Swap]

    def predict(self, facts: Facts, now: float) -> Prediction:
        """Predict for a newcomer with these *facts*."""
        home = self.homes.get(facts.model) or Residence(facts.model, Line(self.limits.ageing_s))
        full = self._is_full() or self.group_is_full(home)
        if home.fits(facts) and not full and not self._is_blocked(home):
            return Prediction(facts.klass, 0, 0.0)
        line = home.line.copy()
        # Any ticket will do: the copy is only ranked.
        newcomer = line.add(object(), facts, -math.inf)  # type: ignore[arg-type]
        for position, (waiter, start_s) in enumerate(self.starts(home, line, now)):
            if waiter is newcomer:
                return Prediction(facts.klass, position, start_s)
        raise AssertionError("everybody who waits is in the ranking")

    def starts(
        self, home: Residence[K], line: Line[K], now: float
    ) -> list[tuple[Waiter[K], float]]:
        """Everybody of *line* in the order of service, with the seconds until each starts."""
        order = line.ranking()
        running = [(stream.facts, now - stream.since) for stream in home.streams.values()]
        lengths = [facts.tokens for facts, _ in running]
        lengths += [w.facts.tokens for w in order]
        starts = self.forecast.starts_s(
            home.slots_for(max(lengths, default=0.0)),
            running,
            [waiter.facts for waiter in order],
            self._ready_in(home, now),
        )
        starts = self._after_a_swap(home, starts, now)
        if self.limits.streams_total:
            house = self._starts_among(self.homes, self.limits.streams_total, home, order, now)
            starts = [max(pair) for pair in zip(starts, house, strict=True)]
        if home.capacity is not None and home.capacity.group_slots:
            group = self._starts_among(
                self._group_of(home), home.capacity.group_slots, home, order, now
            )
            starts = [max(pair) for pair in zip(starts, group, strict=True)]
        return list(zip(order, starts, strict=True))

    def next_start_in(self, now: float) -> float:
        """When the next waiting request starts anywhere, seconds; 0 when nobody waits."""
        heads = [self.starts(h, h.line, now)[0][1] for h in self.homes.values() if len(h.line)]
        return min(heads, default=0.0)

    def view(self, now: float, *, rebuilding: bool) -> QueueView[K]:
        """Everybody who waits, every model and every swap, with the predictions of each."""
        waiting = [
            WaitingView(
                ticket=waiter.ticket,
                model=model,
                key=waiter.facts.key,
                klass=waiter.facts.klass,
                level=waiter.level,
                position=position,
                predicted_wait_s=start_s,
                waited_s=now - waiter.facts.arrived,
                gang=waiter.facts.gang,
            )
            for model, home in self.homes.items()
            if len(home.line)
            for position, (waiter, start_s) in enumerate(self.starts(home, home.line, now))
        ]
        swaps = [
            SwapView(
                swap.model,
                swap.victims,
                swap.begun,
                0.0 if swap.begun else self._due_in(swap, now),
            )
            for swap in self.swaps.values()
        ]
        models = {
            model: _model_view(home, self._load_of(home)) for model, home in self.homes.items()
        }
        return QueueView(tuple(waiting), models, tuple(swaps), rebuilding)

    def group_is_full(self, home: Residence[K]) -> bool:
        """Whether the server of *home* runs as many streams, of all its models, as it may."""
        slots = home.capacity.group_slots if home.capacity is not None else 0
        return 0 < slots <= sum(len(one.streams) for one in self._group_of(home).values())

    def _group_of(self, home: Residence[K]) -> Mapping[str, Residence[K]]:
        """The models that share slots with *home*, itself included."""
        group = home.capacity.group if home.capacity is not None else ""
        if not group:
            return {home.model: home}
        return {
            model: other
            for model, other in self.homes.items()
            if other.capacity is not None and other.capacity.group == group
        }

    def _load_of(self, home: Residence[K]) -> float:
        streams = sum(len(one.streams) + len(one.line) for one in self._group_of(home).values())
        return streams / (home.capacity.weight if home.capacity is not None else 1.0)

    def _is_full(self) -> bool:
        running = sum(len(home.streams) for home in self.homes.values())
        return 0 < self.limits.streams_total <= running

    def _is_blocked(self, home: Residence[K]) -> bool:
        """Whether an overdue request that does not fit keeps everybody else out."""
        return (
            len(home.line) > 0
            and home.line.level_of_next(home.fits) is None
            and any(waiter.level is Level.OVERDUE for waiter in home.line.waiters)
        )

    def _due_in(self, swap: Swap, now: float) -> float:
        """When *swap* will probably begin, also where that depends on grants."""
        due = due_at(swap, self.homes, self.limits)
        if due < math.inf:
            return max(0.0, due - now)
        victims = [self.homes[v] for v in swap.victims if v in self.homes]
        starts = [s for home in victims for _, s in self.starts(home, home.line, now)]
        return max(starts, default=0.0)

    def _drained_in(self, home: Residence[K], now: float) -> float:
        rests = [self.forecast.remaining_s(s.facts, now - s.since) for s in home.streams.values()]
        return max(rests, default=0.0)

    def _ready_in(self, home: Residence[K], now: float) -> float:
        load_s = self.forecast.load_s(home.model)
        match home.phase:
            case Phase.READY:
                return 0.0
            case Phase.COLD:
                return load_s
            case Phase.DRAINING | Phase.DRAINED:
                return self._drained_in(home, now) + load_s
            case Phase.WANTED:
                swap = self.swaps.get(home.model)
                if swap is None:
                    return _rest_s(load_s, now - home.since)
                victims = [self.homes[v] for v in swap.victims if v in self.homes]
                if swap.begun and all(v.phase is not Phase.DRAINING for v in victims):
                    drained = max((victim.since for victim in victims), default=home.since)
                    return _rest_s(load_s, now - drained)
                drain_s = max((self._drained_in(v, now) for v in victims), default=0.0)
                due_in = max(0.0, due_at(swap, self.homes, self.limits, now) - now)
                return (0.0 if swap.begun else due_in) + drain_s + load_s

    def _after_a_swap(self, home: Residence[K], starts: list[float], now: float) -> list[float]:
        """Put a full turn of the other model before those who would start after it is due."""
        away = starts
        for swap in self.swaps.values():
            if swap.begun or home.model not in swap.victims or home.phase is not Phase.READY:
                continue
            due_in = due_at(swap, self.homes, self.limits) - now
            turn_s = self._drained_in(home, now) + self.forecast.load_s(swap.model)
            turn_s += self.limits.min_residence_s + self.forecast.load_s(home.model)
            away = [start + turn_s if start > due_in else start for start in away]
        return away

    def _starts_among(
        self,
        homes: Mapping[str, Residence[K]],
        slots: int,
        home: Residence[K],
        order: list[Waiter[K]],
        now: float,
    ) -> list[float]:
        """When *order* would start on *home* if only a cap on all streams of *homes* counted."""
        lines = {other.model: other.line.ranking() for other in homes.values()}
        lines[home.model] = order
        ahead = [
            (waiter.level, place, other.last_turn, other is home, waiter.facts)
            for other in (*(h for h in homes.values() if h is not home), home)
            if other is home or other.phase is Phase.READY
            for place, waiter in enumerate(lines[other.model])
        ]
        ahead.sort(key=lambda entry: entry[:3])  # models take turns, the least recent one first
        running = [
            (stream.facts, now - stream.since)
            for other in homes.values()
            for stream in other.streams.values()
        ]
        starts = self.forecast.starts_s(slots, running, [entry[4] for entry in ahead])
        return [start for start, entry in zip(starts, ahead, strict=True) if entry[3]]


def _rest_s(load_s: float, elapsed_s: float) -> float:
    return max(load_s - elapsed_s, MIN_REMAINING_FRACTION * load_s)


def _model_view(home: Residence[K], load: float) -> ModelView:
    leaving = sum(stream.leaving for stream in home.streams.values())
    return ModelView(
        phase=home.phase,
        running=len(home.streams) - leaving,
        leaving=leaving,
        waiting=len(home.line),
        slots=home.capacity.slots if home.capacity else None,
        promised=len(home.held),
        load=load,
    )
