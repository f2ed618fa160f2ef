"""The shape of the program: examples that work, completion, exit codes and version in one place."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from lattice_actors import exit_codes, release
from lattice_actors.release import VERSION
from lattice_actors.remote.connection import user_agent
from lattice_http.cli import examples
from lattice_http.cli.program import main, make_app
from lattice_http.cli.terminal import version

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = re.compile(r"^ *(?:\w+=\S+ )?lattice-trio ([^>#|\n]+)", re.MULTILINE)


def commands(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command there is, with the words that call it."""
    yield path, app
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], (*path, name))


COMMANDS = dict(commands(make_app()))


def parses(line: str) -> tuple[str, ...]:
    """Parse what follows `lattice-trio`; return the command it calls."""
    words = shlex.split(line)
    app = make_app()
    if words and words[-1] in ("--help", "--version"):
        words.pop()
    chain, _, rest = app.parse_commands(words)
    if rest or chain:
        app.parse_args(words, exit_on_error=False, print_error=False)
    return chain


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_has_examples_that_work(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0

    shown = capsys.readouterr().out.partition("Examples:")[2]
    lines = EXAMPLE.findall(shown)
    assert 2 <= len(lines) <= 3
    for line in lines:
        called = parses(line)
        assert called[: len(path)] == path, "an example is one of its own command"


def test_the_page_names_every_command_and_its_lines_work() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")

    called = {parses(line) for line in EXAMPLE.findall(page)}
    assert {path[:2] for path in COMMANDS if path and path[0] != "bench"} <= called


def test_no_example_is_of_a_flag_that_is_not_there() -> None:
    with pytest.raises(Exception, match="--no-such-flag"):
        parses("models --no-such-flag")


def test_the_page_has_the_exit_codes() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")

    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == dict(exit_codes.MEANINGS)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--version"], exit_codes.OK),
        (["config"], exit_codes.OK),
        (["config", "--port", "many"], exit_codes.WRONG_USE),
        (["models", "--no-such-flag"], exit_codes.WRONG_USE),
        (["no-such-command"], exit_codes.WRONG_USE),
        (["top", "--base-url", "ftp://x"], exit_codes.WRONG_USE),
        (["top", "--once", "--base-url", "http://127.0.0.1:9"], exit_codes.FAILED),
        (["bench", "--requests", "0"], exit_codes.WRONG_USE),
        (["serve", "--host", "0.0.0.0"], exit_codes.WRONG_USE),
        (["completion", "tcsh"], exit_codes.WRONG_USE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_exit_codes_are_those_of_the_page(argv: list[str], code: int) -> None:
    assert main(argv) == code


def test_the_version_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

    main(["--version"])

    assert capsys.readouterr().out.strip() == version() == VERSION
    assert user_agent() == f"lattice-trio/{VERSION}"
    assert project["project"]["dynamic"] == ["version"]
    assert ROOT / project["tool"]["hatch"]["version"]["path"] == Path(release.__file__)


# --- completion ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "lattice-trio.bash"
    file.write_text(make_app().generate_completion(shell="bash"))
    return file


def completed(script: Path, *words: str) -> list[str]:
    """What Bash offers after *words*, the last of which is being written."""
    typed = " ".join(map(shlex.quote, ("lattice-trio", *words)))
    ask = f"""source {shlex.quote(str(script))}
COMP_WORDS=({typed}) COMP_CWORD={len(words)}
_lattice_trio; printf '%s\\n' "${{COMPREPLY[@]}}" """
    answer = subprocess.run(
        ["bash", "--norc", "-c", ask], capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stderr == ""
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def test_bash_takes_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["mod"], {"models"}),
        (["models", "p"], {"pull"}),
        (["models", "pull", "--rev"], {"--revision"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["serve", "--model-r"], {"--model-root"}),
    ],
)
def test_bash_completes_commands_and_flags(
    script: Path, words: list[str], offered: set[str]
) -> None:
    assert offered <= set(completed(script, *words))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_with_every_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0

    written = capsys.readouterr().out
    assert all(path[-1] in written for path in COMMANDS if path)


def test_examples_stand_for_commands_that_are_there_or_to_come() -> None:
    known = {" ".join(path) for path in COMMANDS}

    assert set(examples.EXAMPLES) - known <= {"init", "doctor"}
