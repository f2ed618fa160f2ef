"""Servers and loops in processes of their own: started, driven and gone afterwards."""

from __future__ import annotations

import json
import os
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import trio

from lattice_actors.engine.echo_script import Script
from lattice_bench import bare_player, command
from lattice_bench.arms import Arm
from lattice_bench.echo_model import write_echo_model
from lattice_bench.gateway import Plan, measure, source_command, time_engine
from lattice_bench.limit import BareFailed, bare_loop, compare
from lattice_bench.load import Target
from lattice_bench.process import NotStarted, _usage_by_ps, clock_s, serving, usage
from lattice_bench.report import gateway_text
from lattice_bench.scenarios import Sizes, choose
from lattice_bench.source import Source
from lattice_bench.suite import Plan as SuitePlan
from lattice_bench.suite import run_suite

BARE = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if job["prompts"] == ["boom"]:
        sys.exit("no weights")
    n, m = len(job["prompts"]), job["max_tokens"]
    print(json.dumps({"ttft_s": [1e-9] * n, "texts_at_s": [[1e-9, 3e-9]] * n, "tokens": n * m,
                      "tokens_each": [m] * n, "seconds": 5e-9, "prompt_tokens": 25}), flush=True)
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def bare(tmp_path: Path) -> tuple[str, ...]:
    """A stand-in for the bare loop that takes no time."""
    (tmp_path / "bare.py").write_text(BARE)
    return (sys.executable, str(tmp_path / "bare.py"))


async def test_a_server_is_ready_inside_and_gone_outside() -> None:
    async with serving(source_command(Path())) as server:
        used = usage(server.pid)

        assert 0 < server.start_s <= server.ready_s
        assert used.rss_bytes > 2**20
        assert used.cpu_s > 0

    assert gone(server.pid)
    with pytest.raises(ProcessLookupError):
        usage(server.pid)


async def test_a_server_that_does_not_start_says_why() -> None:
    program = "import sys; sys.exit('port 5001 is in use')"

    with pytest.RaisesGroup(pytest.RaisesExc(NotStarted, match="port 5001 is in use")):
        async with serving([sys.executable, "-c", program]):
            raise AssertionError("it never listened")


def test_ps_and_proc_agree_about_this_process() -> None:
    mine, by_ps = usage(os.getpid()), _usage_by_ps(os.getpid())

    assert by_ps.rss_bytes == pytest.approx(mine.rss_bytes, rel=0.2)
    assert by_ps.cpu_s == pytest.approx(mine.cpu_s, abs=1.5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:01.50", 1.5), ("75:00.00", 4500.0), ("01:02:03", 3723.0), ("1-00:00:01", 86401.0)],
)
def test_the_clock_of_ps(text: str, seconds: float) -> None:
    assert clock_s(text) == seconds


async def test_pairs_of_server_and_bare_loop(bare: tuple[str, ...]) -> None:
    async with serving(source_command(Path())) as server, bare_loop("model", bare) as loop:
        one = await compare(Target(server.url, "auto"), loop, ["a", "b", "c"], 2, 5)

    assert one.ttft is not None
    assert (one.ttft.pairs, one.failed) == (3, 0)
    assert one.ttft.low > 1  # nothing is faster than a loop that takes no time
    assert (one.server_tokens, one.bare_tokens) == (10, 10)


async def test_the_bare_loop_plays_what_has_no_history(
    bare: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare_player, "bare_loop", partial(bare_loop, command=bare))
    sizes = Sizes(concurrency=(2,), max_tokens=5)
    scenarios = choose("streams,turns", sizes)

    async with serving(source_command(Path())) as server:
        arms = [Arm("ours", (Target(server.url, "auto"),)), bare_player.bare_arm(Path("model"))]
        plays = await run_suite(arms, scenarios, SuitePlan(sizes, 2, 1, 7))

    assert [(play.arm.name, len(play.rounds), play.lacks) for play in plays] == [
        ("ours", 2, None),
        ("bare loop", 2, None),
        ("ours", 2, None),
        ("bare loop", 0, "it takes chats without a history only"),
    ]
    (told,) = plays[1].rounds[0].waves
    assert [(one.tokens, one.events, one.ttft_s) for one in told.answers] == [(5, 2, 1e-9)] * 2
    assert told.answers[0].gaps_s == [pytest.approx(2e-9)]


async def test_a_bare_loop_that_dies_says_why(bare: tuple[str, ...]) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(BareFailed, match="no weights")):
        async with bare_loop("model", bare) as loop:
            with trio.fail_after(10):
                await loop.run(["boom"], 5)


async def test_all_of_the_gateway_is_measured() -> None:
    plan = Plan(starts=1, rest_s=0.05, requests=3, streams=2, rounds=1, offered_tokens_per_s=1e5)

    figures = await measure(plan, source_command)

    assert figures.burst.errors == figures.sustained.errors == ()
    assert figures.burst.events_per_token == 1.0
    assert figures.request_s is not None
    assert figures.engine_s is not None
    assert figures.added_ms == pytest.approx(1e3 * (figures.request_s.p50 - figures.engine_s.p50))
    assert "added by the gateway" in gateway_text(figures)


def test_the_engine_alone_is_timed(tmp_path: Path) -> None:
    times = time_engine(write_echo_model(tmp_path, step_ms=2), 3)

    assert len(times) == 3
    assert min(times) >= 0.002


def test_the_model_directory_has_a_script_the_engine_takes(tmp_path: Path) -> None:
    write_echo_model(tmp_path / "echo", step_ms=2, flood=3)

    assert Script.read(tmp_path / "echo") == Script(step_ms=2, flood=3)


def run(*arguments: str) -> int:
    code = command.app(arguments, result_action="return_value", exit_on_error=False)
    assert isinstance(code, int)
    return code


def serve_in_thread(source: Source) -> str:
    threading.Thread(target=source.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{source.server_address[1]}/v1"


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Source() as source:
        url = serve_in_thread(source)
        arguments = ["--concurrency", "1,2", "--requests", "3", "--max-tokens", "4"]
        code = run("--base-url", url, *arguments, "--json", str(tmp_path / "report.json"))
        source.shutdown()

    report = json.loads((tmp_path / "report.json").read_text())
    assert code == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("streams  requests  failed")
    assert [one["concurrency"] for one in report["load"]] == [1, 2]
    assert [one["tokens"] for one in report["load"]] == [4, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--base-url", "localhost:5001"], 2, "no http or https URL"),
        (["--concurrency", "1,x"], 2, "a list such as 1,8"),
        (["--concurrency", "0"], 2, "--concurrency: expected at least 1, not 0"),
        (["--base-url", "http://127.0.0.1:9"], 1, "failed; is the server running there?"),
        (["gateway", "--streams", "0"], 2, "--streams: expected at least 1, not 0"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
