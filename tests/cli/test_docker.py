"""The Dockerfile, as far as it can be told without Docker: it fits the project it packs."""

from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from lattice_actors.settings import SETTINGS, Settings
from lattice_actors.settings import reading as reading_settings
from lattice_http.cli.program import make_app

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "scripts" / "docker" / "Dockerfile"


@attrs.frozen
class Step:
    """One instruction of a stage."""

    stage: int
    word: str
    rest: str


def steps() -> list[Step]:
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text("utf-8"))
    found, stage = list[Step](), -1
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            stage += word == "FROM"
            found.append(Step(stage, word, rest))
    return found


def of(word: str, stage: int | None = None) -> list[str]:
    return [one.rest for one in steps() if one.word == word and stage in (None, one.stage)]


def variables() -> dict[str, str]:
    words = [word for rest in of("ENV", 1) for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def test_everything_that_is_copied_is_there_and_not_left_out() -> None:
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text("utf-8").split()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    sources = {word for rest in of("COPY", 0) for word in rest.split()[:-1]}

    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)
    assert {"lattice_actors", "http", "dashboard_ws", "bench"} <= sources
    assert not any(fnmatchcase("tests", line) for line in ignored if line.startswith("!"))


def test_the_build_reads_all_that_pyproject_names() -> None:
    copied = {word for rest in of("COPY", 0) for word in rest.split()[:-1]}
    named = re.findall(r'(?:readme = |license-files = \[)"([^"]+)"',
                       (ROOT / "pyproject.toml").read_text("utf-8"))  # fmt: skip

    assert named == ["README.md", "LICENSE"]
    assert {*named, "pyproject.toml"} <= copied


def test_the_command_is_ours_and_its_default_serves() -> None:
    entry, command = json.loads(of("ENTRYPOINT")[0]), json.loads(of("CMD")[0])
    scripts = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.scripts]")[2]

    assert f"{entry[0]} = " in scripts
    assert make_app().parse_commands(command)[0] == ("serve",)


def test_its_variables_are_settings_and_they_are_valid() -> None:
    ours = {name: value for name, value in variables().items() if name.startswith("LATTICE_")}
    known = {setting.variable: name for name, setting in SETTINGS.items()}

    settings = reading_settings.read({}, ours, None).settings

    assert set(ours) <= set(known)
    assert (settings.host, settings.model_root) == ("0.0.0.0", Path("/models"))
    assert set(map(str, (settings.model_root, settings.cache_dir))) == set(
        json.loads(of("VOLUME")[0])
    )


def test_the_port_is_the_default_everywhere() -> None:
    default = str(Settings().port)

    assert of("EXPOSE") == [default]
    assert variables()["LATTICE_PORT"] == default
    page = (ROOT / "docs" / "docker.md").read_text("utf-8")
    assert f"--publish 127.0.0.1:{default}:{default}" in page


def test_it_does_not_run_as_root_and_asks_after_the_loop() -> None:
    last = [one.word for one in steps() if one.stage == 1]
    (check,) = of("HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])

    assert of("USER", 1) == ["lattice"]
    assert "RUN" not in last[last.index("USER") :]
    assert "/livez" in command[2]
    compile(command[2], "healthcheck", "exec")


def test_the_model_of_the_image_is_the_one_of_the_scripts() -> None:
    named = re.search(r"^BUILTIN_MODEL=(\S+)$", (ROOT / "scripts/environment").read_text(), re.M)

    assert named is not None
    assert f"BUILTIN={named[1]}" in of("ARG", 0)
