"""`lattice-trio bench table`: all that is to be reached, row by row, and what was found."""

from __future__ import annotations

import datetime
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import attrs
import msgspec
import trio
from cyclopts import Parameter

from .arms import Arm, BadArm, arms
from .bare_player import bare_arm
from .failures import FAILED, WRONG_USE, say, tell_failures
from .figures import result
from .html_report import page
from .load import Target
from .machine import facts
from .report import plain
from .scenarios import catalogue
from .suite import Plan, run_suite
from .suite_command import progress
from .suite_report import suite_text, suite_values
from .table_report import Played, table_markdown, table_page, table_text
from .targets import OURS, Row, rows
from .verdicts import judge

TRIAL_ROUNDS = 1
TRIAL_TOKENS = 8


class BadRows(ValueError):
    """--rows names one that does not exist; the text lists those that do."""


@attrs.frozen
class Table:
    """The rows, the servers, and where what was measured is kept."""

    out: Path
    wanted: tuple[Row, ...]
    arms: dict[str, Arm]  # by name
    seed: int
    trial: bool
    again: bool

    def kept(self) -> dict[str, Played]:
        """Return what was measured so far; a file that cannot be read is measured again."""
        found = dict[str, Played]()
        for name in rows():
            try:
                found[name] = msgspec.json.decode(
                    (self.out / f"{name}.json").read_bytes(), type=Played
                )
            except (OSError, msgspec.DecodeError):
                continue
        return found

    def pending(self) -> list[Row]:
        """Return the rows that are still to be measured."""
        kept = {} if self.again else self.kept()
        # A trial does not count, except for another one.
        done = [name for name, one in kept.items() if self.trial or not one.trial]
        return [row for row in self.wanted if row.name not in done]

    def lacking(self, row: Row) -> list[str]:
        """Return the servers that *row* needs and nobody named."""
        return [name for name in row.arms if name not in self.arms]

    def measure(self, row: Row) -> str:
        """Play one row, keep what was found, and return its tables.

        Raises, in a group or not: what `run_suite` raises.
        """
        sizes, rounds = row.sizes, row.rounds
        if self.trial:
            sizes = attrs.evolve(
                sizes,
                max_tokens=TRIAL_TOKENS,
                abort_tokens=2 * TRIAL_TOKENS,
                running_tokens=3 * TRIAL_TOKENS,
                prefix_tokens=64,
                long_tokens=128,
            )
            rounds = TRIAL_ROUNDS
        scenario = catalogue(sizes)[row.scenario]
        plan = Plan(sizes, rounds, 1, self.seed)
        used = [self.arms[name] for name in row.arms]
        begun = time.monotonic()
        plays = trio.run(run_suite, used, [scenario], plan, progress)
        played = {play.arm.name: play.rounds for play in plays if play.lacks is None}
        lacks = {play.arm.name: play.lacks for play in plays if play.lacks is not None}
        readings = {name: [scenario.read(one) for one in its] for name, its in played.items()}
        found = result(scenario, played, lacks)
        shown: list[dict[str, object]] = [
            {"name": one.name, "base_url": one.target.base_url, "model": one.target.model}
            for one in used
        ]
        one = Played(
            row=row.name,
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seed=self.seed,
            rounds=rounds,
            trial=self.trial,
            seconds=time.monotonic() - begun,
            command=sys.argv,
            findings=judge(row, readings, lacks),
            machine=facts(),
            arms=shown,
            results=[plain(value) for value in suite_values([found])],
        )
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / f"{row.name}.html").write_text(page(used, plan, [found]), encoding="utf-8")
        draft = self.out / f".{row.name}.json"  # whole, or not at all
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(one)) + b"\n")
        draft.replace(self.out / f"{row.name}.json")
        return suite_text([found])

    def report(self) -> str:
        """Write the table of all that was measured so far; return it as text."""
        kept = self.kept()
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "table.html").write_text(table_page(rows(), kept), encoding="utf-8")
        (self.out / "table.md").write_text(table_markdown(rows(), kept), encoding="utf-8")
        return table_text(rows(), kept)


def chosen(names: str) -> tuple[Row, ...]:
    """Return the rows of a list such as ``first,streams``; ``all`` are all.

    Raises:
        BadRows: one of them does not exist.
    """
    known = rows()
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == ["all"]:
        return tuple(known.values())
    for name in wanted:
        if name not in known:
            raise BadRows(f"no row {name!r}; there are {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(wanted))


def table(
    *,
    out: Annotated[Path, Parameter(help="Folder of a file for each row, and of the table.")],
    rows: Annotated[str, Parameter(help="Rows to measure: first,streams; or all.")] = "all",
    base_url: Annotated[
        str | None, Parameter(help="Our server. Without it, only the table is written.")
    ] = None,
    model: Annotated[str, Parameter(help="What requests ask for.")] = "auto",
    second_model: Annotated[str | None, Parameter(help="The other model of our server.")] = None,
    against: Annotated[
        list[str] | None, Parameter(help="Another server: name=url[,model[,second]].")
    ] = None,
    limit: Annotated[
        Path | None, Parameter(help="Model directory of the bare mlx-lm loop.")
    ] = None,
    api_key: Annotated[
        str | None, Parameter(help="Sent to our server.", env_var="LATTICE_API_KEY")
    ] = None,
    seed: Annotated[int | None, Parameter(help="Of the prompts.")] = None,
    timeout_s: Annotated[float, Parameter(help="Longest wait for an answer.")] = 300.0,
    trial: Annotated[
        bool, Parameter(help="One short round of each: to see that it works.", negative="")
    ] = False,
    again: Annotated[
        bool, Parameter(help="Also measure rows that were measured before.", negative="")
    ] = False,
    pending: Annotated[
        bool, Parameter(help="Only print the rows still to be measured.", negative="")
    ] = False,
) -> int:
    """Measure the rows of the table of targets; rows whose file is there are kept."""
    names = [model, *([second_model] if second_model else [])]
    try:
        wanted = chosen(rows)
        servers = list[Arm]()
        if base_url is not None:
            first = Target(base_url, model, api_key, timeout_s)
            assert first.path
            servers = arms(first, names, against or [], OURS, os.environ)
    except (BadRows, BadArm, ValueError) as error:
        return say(str(error), WRONG_USE)
    if limit is not None:
        servers.append(bare_arm(limit))
    drawn = random.SystemRandom().randrange(10**6) if seed is None else seed
    job = Table(out, wanted, {arm.name: arm for arm in servers}, drawn, trial, again)
    if pending:
        sys.stdout.write("".join(f"{row.name}\n" for row in job.pending()))
        return 0
    failed = _play(job, job.pending()) if servers else 0
    sys.stdout.write(job.report())
    return FAILED if failed else 0


def _play(job: Table, pending: Sequence[Row]) -> int:
    """Measure what is pending; return how many rows could not be."""
    failed = 0
    for row in pending:
        if lacking := job.lacking(row):
            say(f"{row.name}: not played, no server is called {' or '.join(lacking)}", FAILED)
            failed += 1
            continue
        with tell_failures() as codes:
            sys.stdout.write(f"== {row.name}\n{job.measure(row)}\n")
        failed += bool(codes)
    return failed
