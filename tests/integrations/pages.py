"""Pages whose code is a test: their blocks as one program, and what each of them should print.

A page is Markdown. Its ``python`` blocks are one program, its ``sh`` blocks another (bash, with
curl). The block after one of them, where it is ``text`` or ``json``, is what that one prints:

- ``text``: the very text, in which ``...`` stands for any;
- ``json``: JSON that has all of this. More keys may be there, and numbers may be others.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parent.parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x1e"  # printed after each block
RUN_S = 150.0  # of a program that shares the machine with the others

END_OF_BLOCK = {"python": f"print({MARK!r}, flush=True)", "sh": f"printf '{MARK}\\n'"}
COMMANDS = {
    "python": (sys.executable,),
    "sh": ("bash", "-euo", "pipefail"),
}


@attrs.frozen
class Block:
    """A fenced block; *line* is that of its fence, from 1."""

    language: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    return [
        Block(found[1], found[2], page.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(page)
    ]


def program(page: str, language: str) -> str:
    """The blocks of *language*, each on the lines it has in the page, as tracebacks name them."""
    lines = [""] * (page.count("\n") + 1)
    for block in blocks_of(page):
        if block.language == language:
            code = block.text.splitlines()
            lines[block.line : block.line + len(code)] = code
            lines[block.line + len(code)] = END_OF_BLOCK[language]
    return "\n".join(lines) + "\n"


def expectations(page: str, language: str) -> list[tuple[Block, Block | None]]:
    """Each block of *language* with what it should print, where the page says so."""
    blocks = blocks_of(page)
    return [
        (block, then if then is not None and then.language in ("text", "json") else None)
        for block, then in zip(blocks, [*blocks[1:], None], strict=True)
        if block.language == language
    ]


@attrs.frozen
class Running:
    """The program of a page, begun."""

    page: Path
    language: str
    folder: Path
    process: subprocess.Popen[bytes]

    def wrong(self) -> list[str]:
        """Wait for its end; return what is wrong, nothing if all is well."""
        self.process.wait(RUN_S)
        out, err = ((self.folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        expected = expectations(self.page.read_text(encoding="utf-8"), self.language)
        printed = out.split(f"{MARK}\n")
        wrong = [
            f"{self.page.name}:{block.line} printed\n{text}\nand not\n{then.text}"
            for (block, then), text in zip(expected, printed, strict=False)
            if then is not None and not prints(then, text)
        ]
        if self.process.returncode or len(printed) != len(expected) + 1:
            wrong.append(f"{self.page.name} ended with {self.process.returncode}: {err}")
        return wrong


def begin(page: Path, language: str, folder: Path, environ: Mapping[str, str]) -> Running:
    """Begin to run the blocks of a page in *folder*."""
    script = folder / f"{page.stem}.{language}"
    script.write_text(program(page.read_text(encoding="utf-8"), language), encoding="utf-8")
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [*COMMANDS[language], str(script)],
            cwd=folder,
            env={**kept, "HOME": str(folder), **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    return Running(page, language, folder, process)


def prints(expected: Block, printed: str) -> bool:
    """Whether *printed* is what the page says."""
    if expected.language == "json":
        try:
            return has(json.loads(printed), json.loads(expected.text))
        except json.JSONDecodeError:
            return False
    return like(printed.strip(), expected.text.strip())


def has(given: Any, expected: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether JSON has all that is expected: keys, types, texts; numbers may be others."""
    match expected:
        case dict():
            return isinstance(given, dict) and all(
                key in given and has(given[key], value) for key, value in expected.items()
            )
        case list():
            return (
                isinstance(given, list)
                and len(given) == len(expected)
                and all(map(has, given, expected))
            )
        case str():
            return isinstance(given, str) and like(given, expected)
        case bool() | None:
            return given is expected
        case _:
            return isinstance(given, int | float) and not isinstance(given, bool)


def like(text: str, pattern: str) -> bool:
    """Whether *text* is *pattern*, in which ``...`` stands for anything."""
    parts = map(re.escape, pattern.split("..."))
    return re.fullmatch(".*?".join(parts), text, re.DOTALL) is not None
