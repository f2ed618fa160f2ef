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
RUN_S = 120.0

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


def run(page: Path, language: str, folder: Path, environ: Mapping[str, str]) -> list[str]:
    """Run the blocks of a page in *folder*; return what is wrong, nothing if all is well."""
    told = page.read_text(encoding="utf-8")
    script = folder / f"{page.stem}.{language}"
    script.write_text(program(told, language), encoding="utf-8")
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    ran = subprocess.run(
        [*COMMANDS[language], str(script)],
        cwd=folder,
        env={**kept, "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    printed = ran.stdout.split(f"{MARK}\n")
    expected = expectations(told, language)
    wrong = [
        f"{page.name}:{block.line} printed\n{text}\nand not\n{then.text}"
        for (block, then), text in zip(expected, printed, strict=False)
        if then is not None and not prints(then, text)
    ]
    if ran.returncode or len(printed) != len(expected) + 1:
        wrong.append(f"{page.name} ended with {ran.returncode}: {ran.stderr}")
    return wrong


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
