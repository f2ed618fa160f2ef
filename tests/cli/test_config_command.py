"""The command line: what it prints, what it refuses, and how little it needs for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lattice_actors.settings import SETTINGS
from lattice_http.cli import config
from lattice_http.cli.program import main

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE_ROOTS = [str(ROOT / folder) for folder in (".", "http", "dashboard_ws", "bench")]


@pytest.fixture(autouse=True)
def nobody_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in an empty directory that is also the home, with no variables but the path."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_handbook_is_fresh() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    assert written == config.as_markdown(), "run: lattice-trio config --markdown > docs/..."


def test_the_handbook_knows_nothing_of_this_machine(nobody_home: Path) -> None:
    page = config.as_markdown()

    assert str(nobody_home) not in page
    assert str(ROOT) not in page
    assert "engine_module" not in page  # hidden


def test_the_table_shows_each_value_and_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["config", "--port", "7", "--preload", "a,b", "--builtin", "--no-pick-model"])

    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert code == 0
    assert rows["port"] == ["7", "--port"]
    assert rows["preload_models"] == ["a,b", "--preload-models"]
    assert rows["builtin"] == ["on", "--builtin"]
    assert rows["host"] == ["127.0.0.1", "default"]
    assert rows["default_model"] == ["-", "default"]
    assert {name for name, setting in SETTINGS.items() if not setting.hidden} <= set(rows)


def test_the_table_says_why_a_variable_has_no_effect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_WORKERS", "4")

    main(["config"])

    assert "MAX_WORKERS: accepted, no effect (requests are tasks" in capsys.readouterr().out


def test_a_key_is_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDDLE_LAYER_API_KEY", "open sesame")

    main(["config"])
    main(["config", "--json"])

    printed = capsys.readouterr()
    assert "sesame" not in printed.out + printed.err
    assert '"value": "set"' in printed.out


def test_json_has_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "--json", "--grab", "/models/one", "--cors-origins", "a,b"])

    content = json.loads(capsys.readouterr().out)
    assert content["settings"]["model"] == {"value": "/models/one", "origin": "--model"}
    assert content["settings"]["cors_origins"]["value"] == ["a", "b"]
    assert content["settings"]["port"] == {"value": 5001, "origin": "default"}
    assert content["warnings"] == []


def test_the_file_of_the_working_directory_is_read(
    capsys: pytest.CaptureFixture[str], nobody_home: Path
) -> None:
    (nobody_home / "lattice.toml").write_text("port = 7000\n")

    main(["config", "--json"])

    port = json.loads(capsys.readouterr().out)["settings"]["port"]
    assert port == {"value": 7000, "origin": "lattice.toml"}


def test_the_file_of_the_user_is_read_when_there_is_no_nearer_one(
    capsys: pytest.CaptureFixture[str], nobody_home: Path
) -> None:
    folder = nobody_home / ".config" / "lattice-trio"
    folder.mkdir(parents=True)
    (folder / "lattice.toml").write_text("port = 7001\n")

    main(["config", "--json"])

    port = json.loads(capsys.readouterr().out)["settings"]["port"]
    assert port == {"value": 7001, "origin": str(folder / "lattice.toml")}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["serve", "--port", "x"], "--port must be a whole number from 0 to 65535, not 'x'"),
        (["serve", "--prot", "1"], "Unknown option: --prot. Did you mean --port?"),
        (["config", "--config", "/none.toml"], "--config: cannot read /none.toml: No such file"),
        (["config", "surplus"], "Unused Tokens: ['surplus']."),
        (["config", "--port"], "--port requires an argument"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(argv)

    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert line in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("content", [b"port = 1\nport = 2\n", b"host = '\xff'\n"])
def test_a_broken_file_is_one_line_and_exit_code_2(
    content: bytes, capsys: pytest.CaptureFixture[str], nobody_home: Path
) -> None:
    (nobody_home / "lattice.toml").write_bytes(content)

    code = main(["config"])

    assert code == 2
    assert "lattice.toml is not" in capsys.readouterr().err


def test_help_lists_every_setting_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--help"])

    words = capsys.readouterr().out.replace("│", " ").split()
    printed = " ".join(words)
    for setting in SETTINGS.values():
        assert (setting.flag in words) != setting.hidden
        assert (setting.variable in printed) != setting.hidden


@pytest.mark.parametrize("argv", [["--help"], ["serve", "--help"], ["config"], ["--version"]])
def test_the_command_line_alone_imports_neither_mlx_nor_a_web_server(argv: list[str]) -> None:
    program = (
        "import sys; from lattice_http.cli.program import main; main(sys.argv[1:]);"
        "heavy = {'mlx', 'mlx_lm', 'numpy', 'quart', 'hypercorn', 'trio'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program, *argv],
        env={"PYTHONPATH": os.pathsep.join(SOURCE_ROOTS)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


def test_python_m_lattice_http_is_the_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "lattice_http", "config", "--port", "x"],
        env={"PYTHONPATH": os.pathsep.join(SOURCE_ROOTS)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("lattice-trio: --port must be")
    assert "Traceback" not in ended.stderr
