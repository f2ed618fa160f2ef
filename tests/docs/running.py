"""Runs the blocks of a page against a server, in a folder of their own."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser, Error
from pathlib import Path

import attrs
import yaml  # type: ignore[import-untyped]

from lattice_actors.settings import SettingsError, SettingsFile, read
from tests.docs.blocks import PROMPT, Block, blocks, complaint
from tests.end_to_end.serving import SOURCES

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK_S = 120.0  # longer than any block may take
USUAL = re.compile(r"(?:127\.0\.0\.1|localhost):5001")  # where pages say that the server is
ANOTHER_RUNNER = ("docs/integrations/",)  # these pages have tests of their own

OURS = shlex.join([sys.executable, "-m", "tests.docs.stand_in"])

# Python's blocks of a page are one program: later ones go on from earlier ones.
PROGRAM = """\
import json, sys
names = {"__name__": "__main__"}
for line, code in json.load(sys.stdin):
    exec(compile("\\n" * (line - 1) + code, sys.argv[1], "exec"), names)
"""


def pages() -> list[Path]:
    """Return the pages whose blocks are run here."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = ((page, page.relative_to(ROOT).as_posix()) for page in found)
    return [page for page, name in names if not name.startswith(ANOTHER_RUNNER)]


@attrs.define(eq=False)
class Bench:
    """A server, and a folder for what blocks write."""

    url: str
    folder: Path
    real: bool = False  # it has a real model: what needs none is run elsewhere
    program: str = OURS  # what `lattice-trio` is

    def __attrs_post_init__(self) -> None:
        _lay_out(self.folder, self.program)

    def run(self, page: Path) -> Iterator[str]:
        """Run the blocks of *page*; yield what is wrong with them."""
        programs: list[Block] = []
        for block in blocks(page.read_text(encoding="utf-8")):
            where = f"{page.name}:{block.line}"
            wrong = complaint(block)
            idle = block.excuse is not None and not block.is_only_read
            if wrong is None and not idle and block.real is self.real:
                if block.language == "python":
                    programs.append(block)
                else:
                    wrong = self._run(block)
            if wrong is not None:
                yield f"{where}: {wrong}"
        if programs:
            yield from self._python(page, programs)

    def _run(self, block: Block) -> str | None:
        if block.is_shell:
            return self._shell(block)
        reader = READERS.get(block.language)
        if reader is None:
            return f"nobody runs a block of {block.language!r}; say why it is not run"
        try:
            reader(block.code, self.folder)
        except (
            ValueError,
            Error,
            SettingsError,
            yaml.YAMLError,
            plistlib.InvalidFileException,
        ) as e:
            return f"{type(e).__name__}: {e}"
        return None

    def _shell(self, block: Block) -> str | None:
        code = self._here(PROMPT.sub("", block.code))
        only_read = {"DOCS_ONLY_READ": "1"} if block.is_only_read else {}
        done = self._process(["bash", "-euo", "pipefail", "-c", code], "", **only_read)
        expected = int(dict(block.said).get("exits with", "0"))
        if done.returncode != expected:
            return f"exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        return _missing(block, done.stdout)

    def _python(self, page: Path, programs: list[Block]) -> Iterator[str]:
        sent = json.dumps([(block.line, self._here(block.code)) for block in programs])
        done = self._process([sys.executable, "-c", PROGRAM, page.name], sent)
        if done.returncode:
            yield f"{page.name}: {done.stderr[-3000:]}"
        for block in programs if not done.returncode else ():
            if (wrong := _missing(block, done.stdout)) is not None:
                yield f"{page.name}:{block.line}: {wrong}"

    def _here(self, code: str) -> str:
        return USUAL.sub(self.url.removeprefix("http://"), code)

    def _process(
        self, command: list[str], sent: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        environ = {
            **more,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": SOURCES,
            "DOCS_URL": self.url,
            "NO_PROXY": "*",
        }
        return subprocess.run(
            command,
            input=sent,
            env=environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=BLOCK_S,
            check=False,
        )


def _lay_out(folder: Path, program: str) -> None:
    """Put into *folder* what pages call: stand-ins that know which server is meant."""
    idle = '[ -z "${DOCS_ONLY_READ:-}" ] || exit 0\n'
    ours = f'exec {program} "$@"'
    curl = shutil.which("curl")
    assert curl is not None, "pages ask with curl, which is not installed"
    _write(folder / "bin" / "lattice-trio", ours)
    _write(folder / ".venv" / "bin" / "lattice-trio", ours)
    _write(folder / "bin" / "python", idle + f'exec "{sys.executable}" "$@"')
    # A page is wrong, too, where the server refuses what it asks for.
    _write(folder / "bin" / "curl", idle + f'exec "{curl}" --fail-with-body "$@"')
    for script in (ROOT / "scripts").iterdir():
        if script.is_file():  # it is there, and a shell could read it
            is_bash = script.read_bytes().startswith(b"#!/usr/bin/env bash")
            _write(folder / "scripts" / script.name, f'bash -n "{script}"' if is_bash else "true")
    _write(folder / "scripts" / "serve", 'lattice-trio serve "$@"')


def _write(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{command}\n")
    path.chmod(0o755)


def _missing(block: Block, printed: str) -> str | None:
    for what, detail in block.said:
        if what == "prints" and detail not in printed:
            return f"it does not print {detail!r} but {printed[-1500:]!r}"
    return None


# --- what is not run but read: the text, and a folder to leave it in -------------------------


def _toml(text: str, folder: Path) -> None:
    path = folder / "lattice.toml"
    path.write_text(text)  # commands behind it on the page find it
    read({}, {}, SettingsFile(path, text))


def _json(text: str, folder: Path) -> None:
    json.loads(text)


def _yaml(text: str, folder: Path) -> None:
    yaml.safe_load(text)


def _ini(text: str, folder: Path) -> None:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.read_string(text)
    if not parser.sections():
        raise ValueError("no section")


def _xml(text: str, folder: Path) -> None:
    plistlib.loads(text.encode())


def _braces(text: str, folder: Path) -> None:
    if text.count("{") != text.count("}"):
        raise ValueError("a brace is missing")
    _filled(text, folder)


def _filled(text: str, folder: Path) -> None:
    if not text.strip():
        raise ValueError("there is nothing in it")


READERS: dict[str, Callable[[str, Path], None]] = {
    "toml": _toml,
    "json": _json,
    "yaml": _yaml,
    "ini": _ini,
    "xml": _xml,
    "nginx": _braces,
    "mermaid": _filled,
    "text": _filled,
    "http": _filled,
    "dockerfile": _filled,
    "diff": _filled,
}
