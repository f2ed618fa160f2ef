"""`lattice-trio doctor` on real sockets and folders: what it finds, says, and exits with."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from lattice_actors.engine import builtin, cache
from lattice_http.cli.program import main
from tests.cli import stand_ins
from tests.cli.stand_ins import stand_in

Report = dict[str, list[dict[str, str]]]

PYTHON = sys.executable
# One copy of OpenBLAS for all tests here: making it takes longer than all the rest.
CACHE = cache.cache_dir()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in an empty directory that is also the home, with few variables and no built-in model.

    Nothing is multiplied, which would cost each test a second.
    """
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LATTICE_CACHE_DIR", str(CACHE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package")
    return tmp_path


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Report, str]:
    """Return the exit code, the checks by name, and all that was printed."""
    port = () if "--port" in words else ("--port", "0")
    code = main(["doctor", "--json", *port, *words])
    printed = capsys.readouterr()
    said: dict[str, Any] = json.loads(printed.out)
    report: Report = {}
    for one in said["checks"]:
        report.setdefault(one["check"], []).append(one)
    assert said["ok"] == (code == 0)
    return code, report, printed.out + printed.err


def test_all_is_well_where_a_server_has_models(capsys: pytest.CaptureFixture[str]) -> None:
    with stand_in(stand_ins.LM_STUDIO) as url:
        code, report, _ = doctor(capsys, "--lm-studio-url", url, "--prefer-loaded-models", "1")

    assert code == 0
    assert report["upstream lmstudio"][0]["found"] == f"{url}: models: 3, for chats: 2, loaded: 1"
    assert report["answers"][0]["level"] == "fine"
    assert report["port"][0]["level"] == "fine"
    assert report["cloud"][0]["found"] == "off: neither key nor model"
    assert {"python", "platform", "memory", "cache", "key", "models", "settings"} <= set(report)


@pytest.mark.skipif(sys.platform != "linux", reason="MLX on macOS needs no BLAS")
def test_the_blas_is_the_one_that_mlx_got(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, without, _ = doctor(capsys)
    monkeypatch.setattr(sys, "executable", PYTHON)
    _, report, _ = doctor(capsys)

    (blas,) = report["blas"]
    assert blas["found"].startswith("openblas, "), blas
    assert blas["level"] == "fine"
    assert "MLX cannot be used" in without["blas"][0]["found"]


def test_what_is_in_the_way_is_told_and_the_exit_code_says_so(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    (home / "models" / "broken").mkdir(parents=True)
    (home / "models" / "broken" / "config.json").write_text("{")
    with stand_in({"": "<html>"}) as stranger:
        port = stranger.rpartition(":")[2]
        code, report, _ = doctor(
            capsys, "--port", port, "--model-root", "models", "--upstream", "a=http://127.0.0.1:1"
        )

    assert code == 1
    assert report["port"][0]["level"] == "problem"
    assert "another program" in report["port"][0]["found"]
    assert report["answers"][0]["level"] == "problem"
    assert "broken: config.json is damaged" in report["models"][1]["found"]
    assert report["upstream a"][0]["level"] == "warning"
    assert "start it" in report["upstream a"][0]["remedy"]


def test_a_lattice_that_serves_already_is_known_and_gets_no_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = {"/livez": {"ok": True}, "/": {"error": {"code": "invalid_api_key"}}}
    heard: list[tuple[str, str]] = []
    with stand_in(ours, heard=heard) as url:
        _, report, _ = doctor(capsys, "--port", url.rpartition(":")[2], "--api-key", "sesame")

    assert report["port"][0]["level"] == "fine"
    assert "a lattice-trio is serving" in report["port"][0]["found"]
    assert heard == [("/livez", ""), ("/", "")]


def test_a_mute_stranger_does_not_hold_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        code, report, _ = doctor(capsys, "--port", str(mute.getsockname()[1]))

    assert code == 1
    assert report["port"][0]["level"] == "problem"


@pytest.mark.parametrize(
    ("words", "check", "said"),
    [
        (("--queue-max-total", "x"), "settings", "--queue-max-total must be a whole number"),
        (("--config", "none.toml"), "settings", "none.toml"),
        (("--model", "none"), "models", "no such folder"),
        (("--anthropic-spill-over", "never"), "cloud", "expected overload or context"),
        (("--host", "0.0.0.0"), "key", "without an API key"),
        (("--host", "host.invalid"), "port", "cannot listen on"),
    ],
)
def test_whatever_serve_would_refuse_is_a_problem(
    words: tuple[str, ...], check: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report, _ = doctor(capsys, *words)

    assert code == 1
    assert any(one["level"] == "problem" and said in one["found"] for one in report[check]), report


def test_a_key_that_is_missing_or_refused_is_told_of_by_its_variable(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand_in({"/v1/models": {}}, status=401) as url:
        table = f'[[upstream]]\nname = "gpu"\nurl = "{url}"\napi_key_env = "GPU_KEY"\n'
        (home / "lattice.toml").write_text(table)

        code, without, _ = doctor(capsys)
        assert code == 1
        assert "GPU_KEY" in without["upstreams"][0]["found"]

        monkeypatch.setenv("GPU_KEY", "open-sesame")
        _, report, printed = doctor(capsys)
        assert "put the key" in report["upstream gpu"][0]["remedy"]
        assert "sesame" not in printed


def test_nothing_goes_to_the_cloud_unless_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-sesame")
    flags = ("--anthropic-model", "claude-a", "--anthropic-models", "claude-b")
    heard: list[tuple[str, str]] = []
    with stand_in({"/v1/models/claude-a": {"id": "claude-a"}}, heard=heard) as url:
        here = (*flags, "--anthropic-base-url", url)
        _, silent, _ = doctor(capsys, *here)
        assert heard == []
        _, asked, printed = doctor(capsys, *here, "--cloud")
    _, gone, _ = doctor(capsys, *here, "--cloud")

    assert [path for path, _ in heard] == ["/v1/models/claude-a", "/v1/models/claude-b"]
    assert {key for _, key in heard} == {"sk-ant-sesame"}
    assert silent["cloud"][0]["found"] == "claude-a, claude-b; not asked; --cloud does"
    assert asked["cloud"][0]["found"] == f"{url} does not know claude-b (HTTP 404)"
    assert "cannot be reached" in gone["cloud"][0]["found"]
    assert "sesame" not in printed


def test_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--port", "0"])

    printed = capsys.readouterr().out
    assert code == 1
    assert "problem" in printed
    assert "→ lattice-trio init" in printed
    assert "1 in the way of serving" in printed


def test_a_flag_that_there_is_not_is_wrong_use() -> None:
    assert main(["doctor", "--prot", "7"]) == 2
