"""What a person is told of what was found. Pure."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from lattice_http.hosts import own_url

from .proposal import Folder
from .servers import Nothing, Server
from .writing import shown_path

SHOWN = 20  # reasons; after so many nobody reads on


def found_lines(
    folders: Sequence[Folder], looked: Sequence[Server | Nothing], home: Path, *, builtin: bool
) -> Iterator[str]:
    """Yield a line for each folder and address, with what is wrong under it."""
    if builtin:
        yield "built in: SmolLM2-135M-Instruct"
    yield "model folders:"
    for folder in folders:
        yield f"  {shown_path(folder.root, home)}: {_said_of_folder(folder)}"
        broken = folder.found.unusable
        yield from (f"    {one.id} cannot be used: {one.reason}" for one in broken[:SHOWN])
        if len(broken) > SHOWN:
            yield f"    and {len(broken) - SHOWN} more"
    if not folders:
        yield "  none of the usual ones is there; name yours with --model-root"
    if looked:
        yield "servers:"
    for one in looked:
        yield f"  {one.address.url}: {_said_of(one)}"


def diff_lines(before: str | None, after: str, path: str) -> Iterator[str]:
    """Yield the unified difference that writing *after* makes; a file that is not there: None."""
    old = "/dev/null" if before is None else path
    yield from difflib.unified_diff(
        (before or "").splitlines(), after.splitlines(), old, path, lineterm=""
    )


def next_steps(file: Path | None, host: str, port: int) -> Iterator[str]:
    """Yield what to do now; *file* where the commands would not find it by themselves."""
    config = f" --config {shlex.quote(str(file))}" if file is not None else ""
    yield "next:"
    yield f"  lattice-trio doctor{config}    what is wrong, and what to do"
    yield f"  lattice-trio serve{config}     {own_url(host, port)}/v1, /dashboard/ for people"
    yield '  then ask for a role: "model": "role:coder", role:fast, or auto'


def nothing_steps(install: str) -> Iterator[str]:
    """Yield what to do where no model is; *install* is the command for the built-in one."""
    yield "no model was found. One of these gives you one:"
    yield f"  {install}    a small one, built in"
    yield "  start LM Studio's server, or: ollama pull qwen3:4b"
    yield "  --model-root DIR for a folder of MLX models, --url URL for a server elsewhere"


def _said_of_folder(folder: Folder) -> str:
    if not folder.there:
        return "no such folder"
    count = _count(len(folder.found.models), "model")
    broken = len(folder.found.unusable)
    return f"{count}, {broken} cannot be used" if broken else count


def _said_of(one: Server | Nothing) -> str:
    expected = f" ({one.address.expected})" if one.address.expected else ""
    name = f" [{one.address.name}]" if one.address.name else ""
    if isinstance(one, Nothing):
        return f"{one.reason}{expected}{name}"
    if not one.models:
        return f"{one.family.value}{name}, without models yet"
    loaded = sum(model.loaded for model in one.models)
    told = f", {loaded} loaded" if loaded else ""
    others = sum(not model.chats for model in one.models)
    no_chat = f", {others} not for chats" if others else ""
    return f"{one.family.value}{name}: {_count(len(one.models), 'model')}{told}{no_chat}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
