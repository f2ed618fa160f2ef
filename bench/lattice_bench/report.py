"""What was measured, as a table for people and as JSON for everything else."""

from __future__ import annotations

import datetime
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence

import attrs

from .answers import Run
from .gateway import GatewayFigures
from .limit import Comparison
from .machine import facts
from .stats import Ratio, Spread, median_of_known, spread

MIB = 1024 * 1024


@attrs.frozen
class Level:
    """A load at one concurrency. Times in seconds, over the answers without an error."""

    concurrency: int
    requests: int
    errors: dict[str, int]
    ttft_s: Spread | None
    gap_s: Spread | None  # between two events with text, all streams together
    total_s: Spread | None  # end to end
    stream_tokens_per_s: Spread | None  # of a stream, after its first event
    tokens_per_s: float  # of all streams, first request to last answer
    tokens: float | None  # of an answer, median
    prompt_tokens: float | None  # median
    cached_tokens: float | None  # median
    events_per_token: float | None


def level(run: Run) -> Level:
    """Boil one load down."""
    good = run.good
    errors = Counter(answer.error for answer in run.answers if answer.error is not None)
    rates = [(answer.tokens - 1) / sum(answer.gaps_s) for answer in good if sum(answer.gaps_s) > 0]
    tokens = sum(answer.tokens for answer in good)
    return Level(
        concurrency=run.concurrency,
        requests=len(run.answers),
        errors=errors,
        ttft_s=spread([answer.ttft_s for answer in good if answer.ttft_s is not None]),
        gap_s=spread([gap for answer in good for gap in answer.gaps_s]),
        total_s=spread([answer.total_s for answer in good]),
        stream_tokens_per_s=spread(rates),
        tokens_per_s=run.tokens_per_s,
        tokens=median_of_known(answer.tokens for answer in good),
        prompt_tokens=median_of_known(answer.prompt_tokens for answer in good),
        cached_tokens=median_of_known(answer.cached_tokens for answer in good),
        events_per_token=sum(answer.events for answer in good) / tokens if tokens else None,
    )


# --- text ---------------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* with aligned columns, the first to the left; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines) + "\n"


def ms(value: Spread | None) -> str:
    """Return the median and the middle half in milliseconds."""
    if value is None:
        return "-"
    digits = 1 if value.p50 >= 0.01 else 2
    middle = f"{value.p25 * 1e3:.{digits}f}-{value.p75 * 1e3:.{digits}f}"
    return f"{value.p50 * 1e3:.{digits}f} ({middle})"


def load_text(levels: Sequence[Level]) -> str:
    """Return the table of a load."""
    rows = [
        [
            *("streams", "requests", "failed", "ttft ms", "ttft p99"),
            *("gap ms", "gap p99", "total ms", "tok/s stream", "tok/s all", "prompt", "tokens"),
        ]
    ]
    for one in levels:
        gap, stream = one.gap_s, one.stream_tokens_per_s
        rows.append(
            [
                str(one.concurrency),
                str(one.requests),
                str(sum(one.errors.values())),
                ms(one.ttft_s),
                f"{one.ttft_s.p99 * 1e3:.1f}" if one.ttft_s else "-",
                f"{gap.p50 * 1e3:.1f}" if gap else "-",
                f"{gap.p99 * 1e3:.1f}" if gap else "-",
                ms(one.total_s),
                f"{stream.p50:.1f}" if stream else "-",
                f"{one.tokens_per_s:.1f}",
                _count(one.prompt_tokens),
                _count(one.tokens),
            ]
        )
    failures = [
        f"{one.concurrency} streams, {count} times: {error}\n"
        for one in levels
        for error, count in one.errors.items()
    ]
    return table(rows) + "".join(failures) + "Median (middle half); gap: between two events.\n"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def limit_text(comparisons: Sequence[Comparison]) -> str:
    """Return the table of a server beside the bare loop."""
    rows = [["streams", "pairs", "what", "server", "bare loop", "ratio", "95 % interval"]]
    for one in comparisons:
        pairs = str(one.ttft.pairs if one.ttft else 0)
        rate = (f"{one.server_tokens_per_s:.1f}", f"{one.bare_tokens_per_s:.1f}")
        first = (f"{one.server_ttft_s * 1e3:.1f}", f"{one.bare_ttft_s * 1e3:.1f}")
        rows += [
            [str(one.streams), pairs, "first token, ms", *first, *_ratio(one.ttft)],
            ["", "", "slowest stream's", "", "", *_ratio(one.worst_ttft)],
            ["", "", "tokens/s", *rate, *_ratio(one.tokens_per_s)],
            [
                "",
                "",
                "tokens of a prompt",
                *map(_count, (one.prompt_tokens, one.bare_prompt_tokens)),
                "",
                "",
            ],
            ["", "", "tokens a pair", f"{one.server_tokens:.1f}", f"{one.bare_tokens:.1f}", "", ""],
        ]
    failures = [
        f"{one.failed} streams failed: {error}\n" for one in comparisons for error in one.errors
    ]
    return table(rows) + "".join(failures) + "Ratio: median of the pairs, server / bare loop.\n"


def _ratio(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return "-", "-"
    return f"{ratio.median:.3f}", f"{ratio.low:.3f}-{ratio.high:.3f}"


def gateway_text(figures: GatewayFigures) -> str:
    """Return the table of the gateway alone."""
    rows = [
        ["gateway alone", "median (middle half)"],
        ["launch to listening, ms", ms(figures.start_s)],
        ["launch to ready, ms", ms(figures.ready_s)],
        ["resident at rest, MiB", f"{figures.rest_rss_bytes / MIB:.1f}"],
        ["resident after the load, MiB", f"{figures.used_rss_bytes / MIB:.1f}"],
        ["CPU at rest, % of a core", f"{figures.rest_cpu_share * 100:.2f}"],
        ["request of one token, ms", ms(figures.request_s)],
        ["  first text of it, ms", ms(figures.ttft_s)],
        ["  CPU of the gateway, ms", f"{figures.request_cpu_ms:.2f}"],
        ["  the engine alone, ms", ms(figures.engine_s)],
        ["  loopback and client alone, ms", ms(figures.floor_s)],
        ["  added by the gateway, ms", f"{figures.added_ms:.2f}"],
    ]
    streams = figures.plan.streams
    for name, flow in (
        (f"{streams} streams at once", figures.burst),
        (f"{streams} streams, engine paced", figures.sustained),
        (f"{streams} streams, client alone", figures.ceiling),
    ):
        rows.append([f"{name}, tokens/s", _rate(flow.tokens_per_s)])
        rows.append(["  events a token", f"{flow.events_per_token:.2f}"])
        cpu = f"{flow.server_cpu_us:.1f} / {flow.client_cpu_us:.1f}"
        rows.append(["  CPU a token, us, server / bench", cpu])
        rows += [["  failed", error] for error in flow.errors]
    return table(rows)


def _rate(value: Spread | None) -> str:
    return f"{value.p50:.0f} ({value.p25:.0f}-{value.p75:.0f})" if value else "-"


# --- JSON ---------------------------------------------------------------------------------------


def document(kind: str, **parts: object) -> str:
    """Return a report as JSON, with the machine and the command line that made it."""
    value = {
        "report": kind,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "machine": facts(),
        **{name: plain(part) for name, part in parts.items()},
    }
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def plain(value: object) -> object:
    """Return *value* in JSON's own types; NaN becomes null."""
    if attributes := getattr(type(value), "__attrs_attrs__", ()):
        return {field.name: plain(getattr(value, field.name)) for field in attributes}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
