"""What `doctor` found, on the terminal or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lattice_http.setup.verdicts import Level, Verdict, stops

from .terminal import version

_STYLES = {Level.FINE: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def write_json(verdicts: Sequence[Verdict]) -> None:
    """For programs."""
    checks = [
        {"check": one.check, "level": one.level.value, "found": one.found, "remedy": one.remedy}
        for one in verdicts
    ]
    content = {"ok": not stops(verdicts), "version": version(), "checks": checks}
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def write_table(verdicts: Sequence[Verdict]) -> None:
    """For a person."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("level", "check"):
        table.add_column(column, no_wrap=True)
    table.add_column("found", overflow="fold")
    for one in verdicts:
        said = Text(one.found)
        if one.remedy:
            said.append(f"\n→ {one.remedy}", style="dim")
        table.add_row(Text(one.level.value, _STYLES[one.level]), one.check, said)
    console = Console(highlight=False)
    console.print(table)
    problems = sum(one.level is Level.PROBLEM for one in verdicts)
    warnings = sum(one.level is Level.WARNING for one in verdicts)
    if problems:
        console.print(f"\n{problems} in the way of serving, {warnings} to look at")
    else:
        console.print(f"\nnothing is in the way of serving, {warnings} to look at")
