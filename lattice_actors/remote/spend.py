"""What answers of the cloud cost, counted by day, and the cap on it. Pure.

Amounts are whole micro-dollars, so that a sum of thousands of answers is exact. A day is one of
UTC. Before a request is sent, the most it can cost is set aside; so answers that run at once
cannot exceed the cap together either.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Iterator, Mapping

import attrs
import msgspec

MICRO = 1_000_000
DAY_S = 86_400


@attrs.frozen
class Price:
    """Dollars for a million tokens."""

    input: float
    output: float
    cached: float | None = None  # read from the prompt cache; None: as `input`
    written: float | None = None  # written to it; None: as `input`

    def micros(self, *, plain: int, cached: int = 0, written: int = 0, output: int = 0) -> int:
        """Return what so many tokens cost, rounded up."""
        dollars = plain * self.input + output * self.output
        dollars += cached * (self.input if self.cached is None else self.cached)
        dollars += written * (self.input if self.written is None else self.written)
        # Dollars for a million are micro-dollars for one. Rounding noise is no micro-dollar.
        return math.ceil(round(dollars, 6))


class CapReached(Exception):
    """The request could exceed the cap. The message is for the caller."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NoPrice(Exception):
    """There is a cap, and nobody knows what the model costs. The message is for the caller."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is written down: an amount was set aside, or an answer is over."""

    id: str  # of the request; its beginning is the name of a counter
    held: int = 0  # micro-dollars set aside
    paid: int | None = None  # micro-dollars that it came to; None: it is not over
    plain: int = 0  # tokens, as the next ones
    cached: int = 0
    written: int = 0
    output: int = 0
    unpriced: bool = False


@attrs.frozen
class TokenCounts:
    """The tokens of one answer."""

    plain: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0


@attrs.frozen
class Held:
    """What one running request may cost."""

    id: str
    model: str
    micros: int

    @property
    def line(self) -> Line:
        """What is written down of it."""
        return Line(self.id, held=self.micros)


@attrs.frozen
class SpendView:
    """What is shown."""

    day: str  # "2026-01-31", UTC
    spent_usd: float
    held_usd: float  # what running answers may cost, and what died with a server today
    cap_usd: float | None
    resets_at: str  # when the day ends, ISO 8601
    input_tokens: int  # of the day, as the next ones; with those from a cache
    cached_tokens: int
    output_tokens: int
    requests: int
    unpriced_requests: int  # of models without a price: they are not in `spent_usd`


@attrs.define
class Spend:
    """The counter of one process, and of others as far as it is told. Times are Unix seconds."""

    prices: Mapping[str, Price] = attrs.field(factory=dict[str, Price])
    cap_micros: int | None = None  # None: no cap
    name: str = ""  # what its ids begin with: no other counter of this day has it
    _day: int = attrs.field(init=False, default=-1)
    _spent: int = attrs.field(init=False, default=0)
    _holds: dict[str, int] = attrs.field(init=False, factory=dict[str, int])
    _ids: Iterator[int] = attrs.field(init=False, factory=itertools.count)
    _input: int = attrs.field(init=False, default=0)
    _cached: int = attrs.field(init=False, default=0)
    _output: int = attrs.field(init=False, default=0)
    _requests: int = attrs.field(init=False, default=0)
    _unpriced: int = attrs.field(init=False, default=0)

    def hold(self, model: str, prompt_tokens: int, max_tokens: int, unix_now: float) -> Held:
        """Set aside the most that a request can cost.

        Raises:
            CapReached: it could exceed the cap of today.
            NoPrice: there is a cap, and *model* has no price.
        """
        self._turn(unix_now)
        price = self.prices.get(model)
        worst = 0
        if price is not None:
            worst = price.micros(plain=prompt_tokens, output=max_tokens)
        elif self.cap_micros is not None:
            raise NoPrice(f"{model} has no price, and without one the daily cap cannot hold")
        if self.cap_micros is not None and self._spent + self._held + worst > self.cap_micros:
            raise CapReached(self._refusal(worst), self._resets_in(unix_now))
        held = Held(f"{self.name}.{next(self._ids)}", model, worst)
        self._holds[held.id] = worst
        return held

    def give_back(self, held: Held) -> None:
        """It was not sent after all."""
        self._holds.pop(held.id, None)

    def settle(self, held: Held, unix_now: float, counted: TokenCounts) -> Line:
        """Give back what was set aside, and count what it came to; return what to write down."""
        self._turn(unix_now)
        price = self.prices.get(held.model)
        told = attrs.asdict(counted)
        micros = 0 if price is None else price.micros(**told)
        line = Line(held.id, paid=micros, **told, unpriced=price is None)
        self._count(line)
        return line

    def take(self, line: Line) -> None:
        """Count what another counter has written down today; what is our own is known."""
        if not line.id.startswith(f"{self.name}."):
            self._count(line)

    def day(self, unix_now: float) -> str:
        """Return the day that is counted, "2026-01-31"."""
        self._turn(unix_now)
        return _date(self._day)

    def _count(self, line: Line) -> None:
        if line.paid is None:
            self._holds[line.id] = line.held
            return
        self._holds.pop(line.id, None)
        self._spent += line.paid
        self._requests += 1
        self._unpriced += line.unpriced
        self._input += line.plain + line.cached + line.written
        self._cached += line.cached
        self._output += line.output

    @property
    def _held(self) -> int:
        return sum(self._holds.values())

    def view(self, unix_now: float) -> SpendView:
        """Return what is shown."""
        self._turn(unix_now)
        return SpendView(
            day=_date(self._day),
            spent_usd=self._spent / MICRO,
            held_usd=self._held / MICRO,
            cap_usd=None if self.cap_micros is None else self.cap_micros / MICRO,
            resets_at=f"{_date(self._day + 1)}T00:00:00Z",
            input_tokens=self._input,
            cached_tokens=self._cached,
            output_tokens=self._output,
            requests=self._requests,
            unpriced_requests=self._unpriced,
        )

    def _turn(self, unix_now: float) -> None:
        """Begin a new day. A clock that was set back does not give the old day back."""
        day = int(unix_now // DAY_S)
        if day > self._day:
            self._day = day
            self._spent = self._input = self._cached = self._output = 0
            self._requests = self._unpriced = 0
            # Others will write down anew what they set aside; what died with a server is over.
            own = f"{self.name}."
            self._holds = {id_: held for id_, held in self._holds.items() if id_.startswith(own)}

    def _resets_in(self, unix_now: float) -> float:
        return max(1.0, (self._day + 1) * DAY_S - unix_now)

    def _refusal(self, worst: int) -> str:
        assert self.cap_micros is not None
        running = f" and ${self._held / MICRO:.4f} set aside" * bool(self._held)
        return (
            f"the daily cap of ${self.cap_micros / MICRO:.2f} for the cloud "
            f"(anthropic_daily_cap_usd) could be exceeded: ${self._spent / MICRO:.4f} spent"
            f"{running}, and this request may cost ${worst / MICRO:.4f}; "
            f"it resets at {_date(self._day + 1)}T00:00:00Z"
        )


def _date(day: int) -> str:
    return dt.datetime.fromtimestamp(day * DAY_S, dt.UTC).date().isoformat()
