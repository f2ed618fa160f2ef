"""The code blocks of a Markdown page, and what their author says of them. Pure.

Comments stand on lines of their own right before a block, in any number:

    <!-- not run: needs another machine -->      a reason of `REASONS`; detail may follow a comma
    <!-- not run: takes too long -->             but its flags are read, as with all of `READ`
    <!-- run with: a real model -->              SmolLM2 instead of the echo engine
    <!-- prints: celsius -->                     what it prints has this in it
    <!-- exits with: 1 -->                       of a shell block, where that is no failure
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

REASONS = frozenset(
    {
        "changes the machine",
        "downloads a model",
        "installs software",
        "needs a browser",
        "needs a key of the cloud",
        "needs a model that is not here",
        "needs a Mac",
        "needs another lattice-trio",
        "needs another machine",
        "needs another program",
        "needs another server",
        "needs a web search",
        "needs an LM Studio",
        "needs Docker",
        "needs launchd",
        "needs systemd",
        "runs until it is stopped",
        "takes too long",
        "updates a checkout",
    }
)

# Of a block with such a reason the commands are read all the same: flags, names of scripts.
READ = frozenset(
    {
        "downloads a model",
        "needs a model that is not here",
        "needs another lattice-trio",
        "takes too long",
    }
)

SHELL = frozenset({"bash", "sh", "shell", "console"})
# How a line of a shell begins. What has such a line is a shell block, however it is labelled.
COMMAND = re.compile(
    r"^\s*(?:\S+\$\s+)?(?:[A-Z_]+=\S*\s+)*"
    r"(?:lattice-trio|\.venv/bin/|\./scripts/|curl|pip|pipx|uv|uvx|python3?|docker|export|git|"
    r"brew|apt-get|systemctl|launchctl|ssh|ollama|ray|vllm|mlx\.launch)\b(?!:)"
)
PROMPT = re.compile(r"^[a-z0-9-]+\$\s+", re.MULTILINE)  # "node-a$ "

_COMMENT = re.compile(r"<!--\s*([a-z ]+):\s*(.*?)\s*-->")
_FENCE = re.compile(r"^( *)(```+|~~~+)\s*([\w-]*)")


@attrs.frozen
class Block:
    """One block. Blocks that are indented have a language as well: shell, or text."""

    line: int  # of its first line of code, from 1
    language: str
    code: str
    said: tuple[tuple[str, str], ...] = ()  # (what, detail) of the comments before it

    @property
    def excuse(self) -> str | None:
        """Why it is not run, if its author says so."""
        return dict(self.said).get("not run")

    @property
    def is_only_read(self) -> bool:
        """Its commands are checked as far as they can be without running them."""
        return self.is_shell and (self.excuse or "").partition(",")[0] in READ

    @property
    def real(self) -> bool:
        """It needs a model that can read."""
        return dict(self.said).get("run with") == "a real model"

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    return [_with_language(block) for block in _found(text.split("\n"))]


def complaint(block: Block) -> str | None:
    """Return what is wrong with the comments of *block*, or None."""
    for what, detail in block.said:
        known = {"not run", "run with", "prints", "exits with"}
        if what not in known:
            return f"'{what}' means nothing; {', '.join(sorted(known))} do"
        if what == "not run" and detail.partition(",")[0] not in REASONS:
            return f"'{detail}' is none of the reasons: {'; '.join(sorted(REASONS))}"
        if what == "run with" and detail != "a real model":
            return "blocks are run with: a real model; or with the echo engine, unsaid"
        if what == "exits with" and not detail.isdigit():
            return "a block exits with: a number"
    if block.excuse is not None and len(block.said) > 1:
        return "what is not run neither prints nor exits"
    if not block.is_shell and "exits with" in dict(block.said):
        return "only shell blocks exit"
    return None


def _with_language(block: Block) -> Block:
    plain = block.language in ("", "text", "http", "indented")
    if plain and any(COMMAND.match(line) for line in block.code.split("\n")):
        return attrs.evolve(block, language="sh")
    return attrs.evolve(block, language="text") if block.language in ("", "indented") else block


def _found(lines: list[str]) -> Iterator[Block]:
    said: list[tuple[str, str]] = []
    at, in_list = 0, False
    while at < len(lines):
        line = lines[at]
        if comment := _COMMENT.fullmatch(line.strip()):
            said.append((comment[1], comment[2]))
            at += 1
            continue
        if fence := _FENCE.match(line):
            end = _closing(lines, at + 1, fence[2])
            code = [inner.removeprefix(fence[1]) for inner in lines[at + 1 : end]]
            yield Block(at + 2, fence[3].lower(), "\n".join(code), tuple(said))
            at, said = end + 1, []
            continue
        if line.startswith("    ") and not in_list and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            code = [inner.removeprefix("    ") for inner in lines[at:end]]
            yield Block(at + 1, "indented", "\n".join(code).rstrip(), tuple(said))
            at, said = end, []
            continue
        if line.strip():
            said = []
            in_list = bool(re.match(r"\s*(?:[-*+]|\d+\.)\s", line)) or (
                in_list and line.startswith("  ")
            )
        at += 1


def _closing(lines: list[str], at: int, fence: str) -> int:
    """Return the line that closes a fence; one that is left open ends with the page."""
    while at < len(lines) and lines[at].strip() != fence:
        at += 1
    return at
