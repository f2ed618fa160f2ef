"""What a suite found, as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from .arms import Arm
from .figures import Figure, Result
from .machine import facts
from .plots import Strip, ratios, strips
from .suite import Plan
from .suite_report import (
    HEAD,
    NOTE,
    cells,
    figure_name,
    left_out_text,
    ratio_text,
    tally_text,
)

PLOTTED = ("ms", "tok/s")  # units
COLOURS = 6

# Okabe and Ito's colours, which people with any colour vision can tell apart.
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60666d; --line: #d8dce0; --paper: #fff;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b58900; --c5: #56788f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #9aa2aa; --line: #383e44;
  --paper: #16191c; --c0: #56b4e9; --c1: #f0894a; --c2: #2fc79a; --c3: #e59cc4; --c4: #e6c229;
  --c5: #9db8c9; } }
body { margin: 0 auto; padding: 24px 20px 64px; max-width: 900px; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 44px 0 2px; }
h3 { font-size: 14px; margin: 22px 0 2px; } p { margin: 4px 0 10px; }
.soft, caption { color: var(--soft); }
pre { overflow-x: auto; padding: 10px 12px; border: 1px solid var(--line); border-radius: 6px;
  font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px 3px 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th:first-child, td:first-child, .left { text-align: left; }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg .name, svg .value { fill: var(--ink); } svg .tick { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); } svg .one { stroke: var(--soft); stroke-dasharray: 4 3; }
svg circle { fill: currentColor; fill-opacity: .35; } svg .point { fill-opacity: 1; }
svg rect { fill: currentColor; fill-opacity: .16; stroke: currentColor; }
svg .median { stroke: currentColor; stroke-width: 3; } svg .tail { stroke: currentColor; }
svg .range { stroke: currentColor; stroke-width: 3; stroke-opacity: .6; }
""" + "".join(f".c{at} {{ color: var(--c{at}); }}\n" for at in range(COLOURS))

LEGEND = (
    "A dot is one value, the box the middle half, the thick line the median; the two thin lines "
    "are p95 and p99. What lies beyond the end of an axis is drawn at its edge."
)


def page(
    arms: Sequence[Arm],
    plan: Plan,
    results: Sequence[Result],
    machine: Mapping[str, object] | None = None,
) -> str:
    """Return the report; *machine* is that of `facts`, unless given."""
    colours = {arm.name: at % COLOURS for at, arm in enumerate(arms)}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    title = " against ".join(arm.name for arm in arms)
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{now} · {plan.rounds} rounds, servers in turn · seed {plan.seed}</p>',
        _servers(arms, colours),
        *(_scenario(one, colours) for one in results),
        "<h2>How to read it</h2>",
        f"<p>{escape(LEGEND)}</p><p>{escape(NOTE)}</p>",
        "<h2>The machine and the command</h2>",
        f"<pre>{escape(_command())}</pre>",
        machine_table(facts() if machine is None else machine),
    ]
    return whole_page(title, body)


def whole_page(title: str, body: Sequence[str]) -> str:
    """Return *body* as a document that needs nothing else."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _command() -> str:
    name = Path(sys.argv[0]).name
    return shlex.join([name, *sys.argv[1:]])


def _servers(arms: Sequence[Arm], colours: Mapping[str, int]) -> str:
    rows = [
        [
            f'<b class="c{colours[arm.name]}">{escape(arm.name)}</b>',
            escape(arm.target.base_url),
            escape(", ".join(target.model for target in arm.targets)),
        ]
        for arm in arms
    ]
    return html_table(("server", "address", "models"), rows, left=True)


def _scenario(result: Result, colours: Mapping[str, int]) -> str:
    parts = [f"<h2>{escape(result.scenario.name)}</h2><p>{escape(result.scenario.summary)}</p>"]
    by_metric: dict[str, list[Figure]] = {}
    for figure in result.figures:
        if figure.metric.unit in PLOTTED:
            by_metric.setdefault(figure.metric.name, []).append(figure)
    for name, figures in by_metric.items():
        metric = figures[0].metric
        rows = [
            Strip(
                f"{figure.label} · {figure.arm}",
                colours[figure.arm],
                [value * metric.scale for one in figure.rounds for value in one],
            )
            for figure in figures
        ]
        better = "lower" if metric.lower_is_better else "higher"
        heading = f"{name}, {metric.unit} ({better} is better)"
        parts.append(f"<h3>{escape(heading)}</h3>{strips(rows, metric.unit, heading)}")
    to_first = [
        (f"{one.label} {one.metric.name} · {one.arm}", colours[one.arm], one.ratio)
        for one in result.figures
        if one.ratio is not None
    ]
    if to_first:
        heading = "Ratio to the first server, with its 95 % interval"
        parts.append(f"<h3>{heading}</h3>{ratios(to_first, heading)}")
    inner = [(f"{one.name} · {one.arm}", colours[one.arm], one.ratio) for one in result.inner]
    if inner:
        heading = "Within a server, with its 95 % interval"
        text = "; ".join(f"{name}: {ratio_text(ratio)}" for name, _, ratio in inner)
        short = [(arm.arm, colours[arm.arm], arm.ratio) for arm in result.inner]
        parts.append(f"<h3>{heading}</h3><p>{escape(text)}</p>{ratios(short, heading)}")
    if result.figures:
        figures_rows = [
            [escape(cell) for cell in (figure_name(one), one.arm, *cells(one))]
            for one in result.figures
        ]
        parts.append(f'<div class="wide">{html_table(HEAD, figures_rows)}</div>')
    else:
        parts.append("<p>Nothing could be measured.</p>")
    tallies = "".join(map(tally_text, result.tallies)) + left_out_text(result)
    return "\n".join([*parts, f"<pre>{escape(tallies)}</pre>"])


def machine_table(machine: Mapping[str, object]) -> str:
    """Return what is known of the machine."""
    rows = list[list[str]]()
    for name, value in machine.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {part}" for key, part in value.items() if part is not None)
        rows.append([escape(name.replace("_", " ")), escape(str(value)).replace(",", ",&#8203;")])
    return html_table(("", ""), rows, left=True)


def html_table(head: Iterable[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> str:
    """Return a table of cells that are HTML already."""
    kind = ' class="left"' if left else ""
    text = "<table><tr>" + "".join(f"<th{kind}>{escape(one)}</th>" for one in head) + "</tr>\n"
    for row in rows:
        text += "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell in row) + "</tr>\n"
    return text + "</table>"
