"""The table of targets for people: text, Markdown and one HTML file. Pure but for the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import msgspec

from .html_report import html_table, machine_table, whole_page
from .plots import ratios
from .report import table
from .stats import Ratio
from .targets import Row
from .verdicts import Finding

HEAD = ("row", "what", "to reach", "found", "95 % interval", "n", "verdict")
NOTE = (
    "Found: the median of the ratios (or differences) of rounds that were played in turn, with its "
    "bootstrap 95 % interval; of tails, the ratio over all rounds together. A value is that of the "
    "worst round, a share that of all."
)
TOO_FEW = "a trial with few and short rounds: its figures mean nothing"


class Played(msgspec.Struct, frozen=True):
    """One row as it was measured; a file each, so that a run can be taken up again."""

    row: str
    at: str  # ISO 8601
    seed: int
    rounds: int
    trial: bool  # few and short rounds, to see that it works
    seconds: float
    command: list[str]
    findings: list[Finding]
    machine: dict[str, object]
    arms: list[dict[str, object]]
    results: list[object]  # as in the report of a suite


def cells(finding: Finding, *, trial: bool = False) -> list[str]:
    """Return what the table says about *finding*, from the bound on."""
    sign = "at most" if finding.at_most else "at least"
    bound = f"{sign} {finding.bound:g}"
    if finding.value is None:
        return [bound, "-", "-", str(finding.n), f"{finding.verdict}: {finding.why}"]
    interval = "-"
    if finding.low is not None and finding.high is not None:
        interval = f"{finding.low:.2f} to {finding.high:.2f}"
    verdict = f"({finding.verdict})" if trial else finding.verdict
    return [bound, f"{finding.value:.2f}", interval, str(finding.n), verdict]


def lines(rows: Mapping[str, Row], played: Mapping[str, Played]) -> list[list[str]]:
    """Return a line for each target of each row, also of those that were not played."""
    found = list[list[str]]()
    for row in rows.values():
        one = played.get(row.name)
        if one is None:
            found.append([row.name, row.targets[0].text, "", "-", "-", "-", "not played"])
            continue
        shown = row.name + (" (trial)" if one.trial else "")
        for finding in one.findings:
            found.append([shown, finding.text, *cells(finding, trial=one.trial)])
            shown = ""
    return found


def table_text(rows: Mapping[str, Row], played: Mapping[str, Played]) -> str:
    """Return the table for a terminal."""
    return table([HEAD, *lines(rows, played)]) + _trial(played) + NOTE + "\n"


def table_markdown(rows: Mapping[str, Row], played: Mapping[str, Played]) -> str:
    """Return the table for a page of documentation."""
    head = [HEAD, ["---"] * len(HEAD)]
    body = [[cell.replace("|", "\\|") for cell in line] for line in lines(rows, played)]
    text = "".join("| " + " | ".join(line) + " |\n" for line in [*head, *body])
    notes = [f"- `{row.name}`: {row.note}\n" for row in rows.values() if row.note]
    return f"{text}\n{_trial(played)}{NOTE}\n\n{''.join(notes)}"


def table_page(rows: Mapping[str, Row], played: Mapping[str, Played]) -> str:
    """Return the table as a page that needs nothing else, with a plot."""
    title = "What was to be reached, and what was found"
    body = [f"<h1>{title}</h1>"]
    if note := _trial(played):
        body.append(f"<p><b>{escape(note)}</b></p>")
    shown = [[escape(cell) for cell in line] for line in lines(rows, played)]
    body.append(f'<div class="wide">{html_table(HEAD, shown, left=True)}</div>')
    body.append(f"<p>{escape(NOTE)}</p>")
    if distances := _distances(rows, played):
        heading = "Share of what is allowed: left of the line is reached"
        body.append(f"<h2>{heading}</h2>{ratios(distances, heading)}")
    for name, one in played.items():
        at = f"{one.at}, {one.rounds} rounds, {one.seconds:.0f} s, seed {one.seed}"
        link = f'<a href="{escape(name)}.html">all figures of it</a>'
        body.append(f"<h2>{escape(name)}</h2><p>{escape(at)} · {link}</p>")
        body.append(f"<p>{escape(rows[name].note)}</p>" if name in rows else "")
        body.append(machine_table(one.machine))
    return whole_page(title, body)


def _distances(
    rows: Mapping[str, Row], played: Mapping[str, Played]
) -> Sequence[tuple[str, int, Ratio]]:
    """Return each ratio over its bound, or its bound over it: below 1 is reached."""
    found = list[tuple[str, int, Ratio]]()
    for name in rows:
        for number, one in enumerate(played[name].findings if name in played else []):
            if one.value is None or one.low is None or one.high is None:
                continue
            if not (min(one.value, one.low, one.high) > 0 and one.bound > 0):
                continue
            ends = [value / one.bound for value in (one.value, one.low, one.high)]
            if not one.at_most:
                middle, low, high = ends
                ends = [1 / middle, 1 / high, 1 / low]
            label = name if not number else f"{name} ({number + 1})"
            found.append((label, 2 if one.met else 1, Ratio(one.n, *ends)))
    return found


def _trial(played: Mapping[str, Played]) -> str:
    names = [name for name, one in played.items() if one.trial]
    return f"{', '.join(names)}: {TOO_FEW}\n\n" if names else ""
