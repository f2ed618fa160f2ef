"""The table of targets: its rows, its verdicts, and what is kept from one run to the next."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_bench import command
from lattice_bench.scenarios import catalogue
from lattice_bench.scenarios.shape import GHOSTS, TTFT, VALID, Readings
from lattice_bench.source import Source
from lattice_bench.suite import warm
from lattice_bench.table_report import Played, table_markdown, table_page, table_text
from lattice_bench.targets import OURS, RatioTarget, Row, ValueTarget, rows
from lattice_bench.verdicts import Finding, judge

ROWS = rows()
PEERS = ("mlx-lm", "litellm", "local-lattice")


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_target_reads_what_its_scenario_sends(row: Row) -> None:
    scenario = catalogue(row.sizes)[row.scenario]
    labels = {within.over for within in scenario.within}
    labels |= {within.under for within in scenario.within}
    labels |= {"alone", "storm", "schema", *(f"{n} streams" for n in row.sizes.concurrency)}

    for target in row.targets:
        if isinstance(target, ValueTarget):
            assert target.label in labels
        else:
            assert {target.over.label, target.under.label} <= labels
            assert {target.over.arm, target.under.arm} <= set(row.arms)
            assert not target.tail or target.metric.tail is not None
    assert warm(row.sizes).max_tokens <= row.sizes.max_tokens


def ratio_of(ours: float, theirs: float, bound: float, *, at_most: bool = True) -> Finding:
    row = ROWS["first"]
    (target,) = row.targets
    assert isinstance(target, RatioTarget)
    readings: dict[str, list[Readings]] = {
        target.over.arm: [{("alone", TTFT): [ours]}] * 6,
        target.under.arm: [{("alone", TTFT): [theirs]}] * 6,
    }
    (finding,) = judge(row, readings, {})
    fields = {"bound": bound, "at_most": at_most}
    return Finding(
        **({name: getattr(finding, name) for name in finding.__struct_fields__} | fields)
    )


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_a_ratio_is_reached_on_one_side_of_its_bound(ratio: float, bound: float) -> None:
    most = ratio_of(ratio, 1.0, bound)
    least = ratio_of(ratio, 1.0, bound, at_most=False)

    assert most.value == pytest.approx(ratio)
    assert most.met is (most.value is not None and most.value <= bound)
    assert most.met is not least.met or most.value == bound


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.1))
def test_a_difference_is_in_the_unit_of_its_metric(ours: float, theirs: float) -> None:
    readings: dict[str, list[Readings]] = {
        OURS: [{("alone", TTFT): [ours]}] * 6,
        "source": [{("alone", TTFT): [theirs]}] * 6,
    }
    first, _ = judge(ROWS["added"], readings, {})

    assert first.value == pytest.approx(1e3 * (ours - theirs))
    assert first.met is (first.value is not None and first.value <= 3.0)


def test_an_interval_around_the_bound_is_said_to_be_one() -> None:
    near = Finding("x", 1.05, True, 30, 1.04, 1.01, 1.08)
    far = Finding("x", 1.05, True, 30, 1.02, 1.01, 1.03)

    assert near.verdict == "reached, the bound is inside the interval"
    assert far.verdict == "reached"
    assert Finding("x", 1.05, True, 30, 1.2, 1.1, 1.3).verdict == "missed"


def test_a_server_that_could_not_play_is_named() -> None:
    (finding,) = judge(ROWS["swarm"], {}, {OURS: "it has no /swarm/fanout"})

    assert finding.met is None
    assert finding.why == f"{OURS}: it has no /swarm/fanout"


def test_a_value_is_that_of_the_worst_round() -> None:
    played: list[Readings] = [{("storm", GHOSTS): [0.5]}, {("storm", GHOSTS): [1.5]}]

    ghosts = judge(ROWS["abort"], {OURS: played}, {})[1]

    assert (ghosts.value, ghosts.met) == (1.5, False)


@pytest.mark.parametrize(
    ("values", "met", "share"),
    [([1.0] * 50, True, 1.0), ([1.0] * 49, None, None), ([1.0] * 49 + [0.0], False, 0.98)],
)
def test_fifty_documents_must_be_valid(
    values: list[float], met: bool | None, share: float | None
) -> None:
    found = judge(ROWS["schema"], {OURS: [{("schema", VALID): values}]}, {})[1]

    assert (found.met, found.value) == (met, share)


def test_the_reports_show_what_was_played_and_what_was_not() -> None:
    finding = Finding("first | token", 1.05, True, 30, 1.2, 1.1, 1.3)
    one = Played("first", "2026-01-01", 1, 40, True, 9.0, [], [finding], {"cores": 2}, [], [])

    text, markdown, page = (
        make(ROWS, {"first": one}) for make in (table_text, table_markdown, table_page)
    )

    assert "(missed)" in text
    assert "figures mean nothing" in text
    assert text.count("not played") == len(ROWS) - 1
    assert "first \\| token" in markdown
    assert "1.10 to 1.30" in page
    assert page.count("<svg") == 1


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def url() -> Iterator[str]:
    with Source() as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{source.server_address[1]}"
        source.shutdown()


def run(*arguments: str) -> int:
    code = command.app(["table", *arguments], result_action="return_value", exit_on_error=False)
    assert isinstance(code, int)
    return code


def test_a_row_is_measured_once(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path), "--rows", "prefix,peer")
    servers = ("--base-url", url, "--against", f"mlx-lm={url}")

    assert run(*out, *servers, "--trial") == 0
    first = (tmp_path / "peer.json").read_bytes()
    assert run(*out, *servers, "--trial") == 0

    assert (tmp_path / "peer.json").read_bytes() == first
    kept = json.loads(first)
    assert (kept["row"], kept["trial"], kept["rounds"]) == ("peer", True, 1)
    assert {"peer.html", "prefix.html", "table.html", "table.md"} <= {
        path.name for path in tmp_path.iterdir()
    }
    capsys.readouterr()
    assert run(*out, "--pending") == 0
    assert capsys.readouterr().out == "prefix\npeer\n"


def test_a_row_without_its_server_is_said_to_be_missing(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", str(tmp_path), "--rows", "serial", "--base-url", url) == 1

    assert "serial: not played, no server is called local-lattice" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rows", "nothing"],
        ["--base-url", "nowhere"],
        ["--base-url", "http://h", "--against", "x"],
    ],
)
def test_wrong_use_measures_nothing(tmp_path: Path, arguments: list[str]) -> None:
    assert run("--out", str(tmp_path / "t"), *arguments) == 2
    assert list(tmp_path.iterdir()) == []
