"""What lattice-trio is to reach, row by row: what is played, against whom, and the bounds. Pure.

A row is played in some minutes on two cores with a small model, and all rows in less than half
an hour; each has enough rounds for an interval that means something.
"""

from __future__ import annotations

import attrs

from .scenarios.shape import GAP, GHOSTS, RATE, TOTAL, TTFT, VALID, Metric, Sizes

OURS = "lattice-trio"
BARE = "bare loop"  # mlx-lm's own batch generator, without a server
MLX = "mlx-lm"  # mlx_lm.server
BEFORE = "local-lattice"  # the predecessor
LITELLM = "litellm"
SOURCE = "source"  # the upstream that ours is in front of, asked directly


@attrs.frozen
class Side:
    """One side of a ratio: a server and the label of its requests."""

    arm: str
    label: str


@attrs.frozen
class RatioTarget:
    """*over* / *under* of one metric must be at most or at least *bound*.

    A *difference* is *over* - *under*, in the metric's unit.
    """

    text: str
    metric: Metric
    over: Side
    under: Side
    bound: float
    at_most: bool = True
    tail: bool = False  # at the percentile of `Metric.tail`, else the median
    difference: bool = False


@attrs.frozen
class ValueTarget:
    """A value of ours must keep to *bound*: the worst one, or the mean of all."""

    text: str
    metric: Metric
    label: str
    bound: float
    at_most: bool = True
    least_values: int = 1  # fewer prove nothing
    mean: bool = False  # of all values of all rounds: a share, where each is 0 or 1


Target = RatioTarget | ValueTarget


@attrs.frozen
class Row:
    """One row of the table."""

    name: str
    scenario: str
    against: str | None  # the other server; None: within ours
    sizes: Sizes
    rounds: int
    targets: tuple[Target, ...]
    note: str = ""  # what is special about our server in it

    @property
    def arms(self) -> tuple[str, ...]:
        """The servers that play it, ours first."""
        return (OURS, self.against) if self.against else (OURS,)


UNCACHED = "without its prefix cache, which knows the beginning of every template"


def rows() -> dict[str, Row]:
    """Return all rows, by name, in the order of the table."""
    return {row.name: row for row in (*_speed(), *_company(), *_promises(), *_passing())}


def _between(
    text: str, metric: Metric, label: str, over: str, under: str, bound: float, **more: bool
) -> RatioTarget:
    return RatioTarget(text, metric, Side(over, label), Side(under, label), bound, **more)


def _within(
    text: str, metric: Metric, over: str, under: str, bound: float, **more: bool
) -> RatioTarget:
    return RatioTarget(text, metric, Side(OURS, over), Side(OURS, under), bound, **more)


def _speed() -> tuple[Row, ...]:
    return (
        Row(
            "first",
            "single",
            BARE,
            Sizes(max_tokens=4),
            40,
            (_between("first token, one stream", TTFT, "alone", OURS, BARE, 1.05),),
            UNCACHED,
        ),
        Row(
            "streams",
            "streams",
            BARE,
            Sizes(concurrency=(8, 16), max_tokens=48),
            8,
            tuple(
                _between(
                    f"tokens/s, {n} streams", RATE, f"{n} streams", OURS, BARE, 0.95, at_most=False
                )
                for n in (8, 16)
            ),
            UNCACHED + "; with room for 16 streams",
        ),
        Row(
            "peer",
            "streams",
            MLX,
            Sizes(concurrency=(8,), max_tokens=64),
            10,
            (
                _between("first token p95, 8 streams", TTFT, "8 streams", OURS, MLX, 1, tail=True),
                _between("tokens/s, 8 streams", RATE, "8 streams", OURS, MLX, 1.0, at_most=False),
            ),
        ),
        Row(
            "serial",
            "streams",
            BEFORE,
            Sizes(concurrency=(4,), max_tokens=128),
            5,
            (
                _between(
                    "first token, 4 streams of 128 tokens: theirs over ours",
                    *(TTFT, "4 streams", BEFORE, OURS, 10),
                    at_most=False,
                ),
            ),
        ),
    )


def _company() -> tuple[Row, ...]:
    return (
        Row(
            "prefix",
            "prefix",
            None,
            Sizes(prefix_tokens=600),
            12,
            (_within("first token, warm 600-token prefix / cold", TTFT, "warm", "cold", 0.20),),
        ),
        Row(
            "alternate",
            "alternate",
            MLX,
            Sizes(),
            10,
            (
                _between(
                    "first token p95, two models in turn: theirs over ours",
                    *(TTFT, "other model", MLX, OURS, 5),
                    at_most=False,
                    tail=True,
                ),
            ),
        ),
        Row(
            "long",
            "long",
            None,
            Sizes(long_tokens=2000, running=4, running_tokens=112),
            5,
            (
                _within(
                    "inter-token p99 of 4 streams, beside a 2,000-token prompt / without",
                    *(GAP, "beside", "without", 3),
                    tail=True,
                ),
            ),
        ),
        Row(
            "abort",
            "abort",
            None,
            Sizes(aborts=8, abort_tokens=200),
            20,
            (
                _within("first token, after 8 aborts / idle", TTFT, "after the storm", "idle", 1.2),
                ValueTarget("ghost tokens an abort, worst round", GHOSTS, "storm", 1.0),
            ),
        ),
    )


def _promises() -> tuple[Row, ...]:
    return (
        Row(
            "gateway",
            "streams",
            LITELLM,
            Sizes(concurrency=(32,), max_tokens=250),
            10,
            (
                _between(
                    "tokens/s through the gateway alone, 32 streams",
                    *(RATE, "32 streams", OURS, LITELLM, 5),
                    at_most=False,
                ),
            ),
            "both in front of something that only writes",
        ),
        Row(
            "schema",
            "schema",
            None,
            Sizes(schema_streams=5),
            10,
            (
                _within(
                    "tokens/s, JSON schema / free", RATE, "schema", "free", 0.85, at_most=False
                ),
                ValueTarget(
                    "answers that keep to the schema, share",
                    *(VALID, "schema", 1.0),
                    at_most=False,
                    least_values=50,
                    mean=True,
                ),
            ),
        ),
        Row(
            "swarm",
            "swarm",
            None,
            Sizes(max_tokens=48, samples=4),
            8,
            (_within("fan-out of 4 samples / one", TOTAL, "4 samples", "one sample", 1.6),),
        ),
    )


def _passing() -> tuple[Row, ...]:
    """Ours in front of another server, beside that server itself and beside another gateway."""
    return (
        Row(
            "added",
            "single",
            SOURCE,
            Sizes(max_tokens=16),
            100,
            tuple(
                _between(
                    f"{what}, passed - direct, ms",
                    *(metric, "alone", OURS, SOURCE, 3.0),
                    difference=True,
                )
                for what, metric in (("first token", TTFT), ("answer of 16 tokens", TOTAL))
            ),
            "the upstream writes as fast as it can",
        ),
        Row(
            "passed",
            "streams",
            LITELLM,
            Sizes(concurrency=(32,), max_tokens=250),
            10,
            (
                _between(
                    "tokens/s passed through, 32 streams",
                    *(RATE, "32 streams", OURS, LITELLM, 5),
                    at_most=False,
                ),
            ),
            "both in front of the same upstream, which writes as fast as it can",
        ),
        Row(
            "paced",
            "streams",
            SOURCE,
            Sizes(concurrency=(32,), max_tokens=100),
            7,
            (
                _between(
                    "tokens/s passed through / direct, 32 streams",
                    *(RATE, "32 streams", OURS, SOURCE, 0.9),
                    at_most=False,
                ),
            ),
            "the upstream writes 50 tokens a second on each stream",
        ),
    )
