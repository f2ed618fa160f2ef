"""What a suite found, as tables for people and as values for JSON."""

from __future__ import annotations

from collections.abc import Sequence

from .figures import Figure, Result, Tally
from .report import table
from .stats import Ratio

FEW_PAIRS = 5  # drawing from fewer cannot show how wrong their median may be
HEAD = ("what", "server", "n", "p50 (middle half)", "p95", "p99", "to first", "tail to first")
NOTE = """Median (middle half) of all values; gap: between two events with text, as they arrive.
To first: this server's value over that of the first one, round by round: median and 95 % interval.
Tail: the same at the 95th percentile of all rounds together, for gaps at the 99th.
"""


def suite_text(results: Sequence[Result]) -> str:
    """Return a table for each scenario."""
    return "\n".join([*map(result_text, results), NOTE])


def result_text(result: Result) -> str:
    """Return the table of one scenario, and the lines below it."""
    rows: list[Sequence[str]] = [HEAD]
    shown = ""
    for figure in result.figures:
        what = figure_name(figure)
        rows.append([what if what != shown else "", figure.arm, *cells(figure)])
        shown = what
    text = f"{result.scenario.name}: {result.scenario.summary}\n\n"
    text += table(rows) if len(rows) > 1 else "nothing could be measured\n"
    for inner in result.inner:
        text += f"{inner.name}: {inner.arm} {ratio_text(inner.ratio)}\n"
    return text + "".join(map(tally_text, result.tallies)) + left_out_text(result)


def left_out_text(result: Result) -> str:
    """Return a line about each server that could not play it."""
    return "".join(f"{arm}: left out, {lack}\n" for arm, lack in result.left_out.items())


def figure_name(figure: Figure) -> str:
    """Return what a row of the table is called: label, metric, unit."""
    return f"{figure.label}: {figure.metric.name}, {figure.metric.unit}"


def cells(figure: Figure) -> list[str]:
    """Return what a table says about *figure*, from the count on."""
    scale, spread = figure.metric.scale, figure.spread
    digits = 1 if spread.p75 * scale >= 10 else 2
    p50, p25, p75, p95, p99 = (
        f"{value * scale:.{digits}f}"
        for value in (spread.p50, spread.p25, spread.p75, spread.p95, spread.p99)
    )
    ratios = (ratio_text(figure.ratio), ratio_text(figure.tail_ratio))
    return [str(spread.n), f"{p50} ({p25}-{p75})", p95, p99, *ratios]


def ratio_text(ratio: Ratio | None) -> str:
    """Return the ratio with its interval, or with its pairs where they are too few for one."""
    if ratio is None:
        return ""
    if ratio.pairs < FEW_PAIRS:
        return f"{ratio.median:.2f} (n={ratio.pairs})"
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def tally_text(tally: Tally) -> str:
    """Return a line about the requests, and one for each way in which they failed."""
    parts = [f"{tally.requests} requests"]
    for count, what in ((tally.left, "left by us"), (tally.refused, "refused")):
        if count:
            parts.append(f"{count} {what}")
    for tokens, what in (
        (tally.prompt_tokens, "tokens of prompt"),
        (tally.cached_tokens, "of these cached"),
        (tally.tokens, "tokens of answer"),
    ):
        if tokens is not None:
            parts.append(f"{tokens:.0f} {what}")
    errors = [f"  failed {count} times: {error}\n" for error, count in tally.errors.items()]
    return f"{tally.arm}: {', '.join(parts)}\n" + "".join(errors)


def suite_values(results: Sequence[Result]) -> list[object]:
    """Return the results for JSON; times in seconds. Of single values only medians of rounds."""
    return [
        {
            "scenario": result.scenario.name,
            "figures": [
                {
                    "arm": figure.arm,
                    "label": figure.label,
                    "metric": figure.metric.name,
                    "unit": {"ms": "s", "%": "share"}.get(figure.metric.unit, figure.metric.unit),
                    "spread": figure.spread,
                    "medians_of_rounds": figure.medians,
                    "ratio_to_first": figure.ratio,
                    "tail_ratio_to_first": figure.tail_ratio,
                }
                for figure in result.figures
            ],
            "within": result.inner,
            "tallies": result.tallies,
            "left_out": result.left_out,
        }
        for result in results
    ]
