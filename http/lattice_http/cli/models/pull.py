"""Getting a model: into a hidden folder beside its place, checked, and renamed when it is whole.

    ROOT/.pull/OWNER--NAME/  ->  ROOT/OWNER/NAME

So a server that looks at the folder never sees half a model. What was got is kept when the pull
is interrupted; the next one goes on in the middle of a file, and compares every file with the
hub's checksum.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import attrs

from lattice_actors.catalog import discovery
from lattice_actors.catalog.architecture import kind_of
from lattice_actors.catalog.entry import ModelEntry, Unusable
from lattice_actors.catalog.weights import BrokenModel

from .files import CONFIG, NotLoadable, RemoteFile, check, needed
from .hub import Hub, Repository
from .text import size

DRAFTS = ".pull"  # hidden: a scan of the root passes it over
PART = ".part"
_CHUNK_BYTES = 1024 * 1024


class PullFailed(Exception):
    """The model is not there; the text says why, for a person."""


class Progress(Protocol):
    """Who is told how it goes."""

    def say(self, line: str) -> None:
        """One thing a person may want to know."""

    def begin(self, total_bytes: int) -> None:
        """So much is to come."""

    def advance(self, count: int) -> None:
        """So many bytes more (or, where the hub began again, fewer) are there."""


@attrs.frozen
class Pulled:
    """What a pull came to."""

    path: Path
    entry: ModelEntry | Unusable
    got_bytes: int  # 0: everything was there already


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of *folder*, which need not exist."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def pull(
    repo: str,
    revision: str | None,
    root: Path,
    hub: Hub,
    progress: Progress,
    free: Callable[[Path], int] = free_bytes,
) -> Pulled:
    """Get *repo* into *root*.

    Raises:
        PullFailed: with what to do about it.
        HubProblem: what the hub says.
        OSError: the disk.
    """
    if (root / CONFIG).exists():
        raise PullFailed(f"{root} is a model itself, not a folder of models; name one with --to")
    found = hub.look(repo, revision)
    files = needed(found.files)
    try:
        check(found.files)
    except NotLoadable as why:
        raise PullFailed(f"{repo} cannot be run here: {why}") from None
    progress.say(f"{repo} at {found.commit[:12]}: {len(files)} files, {size(_sum(files))}")
    target = root / repo
    if target.exists():
        return _already(found, files, target, progress)
    with _draft(root, repo) as draft:
        _tidy(draft, files)
        rest = [file for file in files if not _is_whole(draft / file.name, file)]
        missing = _sum(rest) - sum(_size(_part(draft, file)) for file in rest)
        if missing > (room := free(root)):
            raise PullFailed(f"{size(missing)} are needed in {root}, {size(room)} are free")
        progress.begin(missing)
        for file in files:
            if file in rest:
                _fetch(hub, found, file, draft, progress)
            if file.name == CONFIG:
                _check_config(repo, found, draft)
        entry = discovery.examine(draft, repo)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(target)
        return Pulled(target, attrs.evolve(entry, path=target), _sum(rest))


def _fetch(hub: Hub, found: Repository, file: RemoteFile, draft: Path, progress: Progress) -> None:
    part = _part(draft, file)
    part.parent.mkdir(exist_ok=True)
    try:
        hub.fetch(found, file, part, progress.advance)
    finally:
        if not _size(part) and file.size_bytes:
            part.unlink(missing_ok=True)  # refused before the first byte: nothing to keep
    if not _is_whole(part, file):
        part.unlink()  # going on from here would never end well
        raise PullFailed(f"{file.name} came damaged (its checksum is wrong); pull again")
    part.rename(draft / file.name)


def _check_config(repo: str, found: Repository, draft: Path) -> None:
    """Refuse what mlx-lm cannot run before its weights are fetched."""
    try:
        config: Any = json.loads((draft / CONFIG).read_bytes())
        kind_of(repo, config, any(file.name == "modules.json" for file in found.files))
    except (ValueError, AttributeError):
        why = f"{CONFIG} is damaged"
    except BrokenModel as broken:
        why = str(broken)
    else:
        return
    shutil.rmtree(draft)
    raise PullFailed(f"{repo} cannot be run here: {why}")


def _already(
    found: Repository, files: tuple[RemoteFile, ...], target: Path, progress: Progress
) -> Pulled:
    """Compare a directory that is there with the hub's checksums."""
    progress.say(f"{target} is there; comparing it with the hub's checksums")
    differing = [file.name for file in files if not _is_whole(target / file.name, file)]
    if differing:
        raise PullFailed(
            f"{target} is there and differs in {len(differing)} files ({differing[0]}): "
            "move it away, or choose another folder with --to"
        )
    return Pulled(target, discovery.examine(target, found.id), 0)


@contextmanager
def _draft(root: Path, repo: str) -> Iterator[Path]:
    """Hold the folder in which *repo* is put together; one pull at a time has it."""
    draft = root / DRAFTS / repo.replace("/", "--")
    draft.mkdir(parents=True, exist_ok=True)
    folder = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process
        except BlockingIOError:
            raise PullFailed(f"another pull of {repo} is running") from None
        yield draft
    finally:
        with suppress(OSError):  # what is not empty is kept for the next pull
            draft.rmdir()
        with suppress(OSError):
            draft.parent.rmdir()
        os.close(folder)


def _tidy(draft: Path, files: tuple[RemoteFile, ...]) -> None:
    """Remove what an earlier pull left of other commits."""
    wanted = {draft / file.name for file in files} | {_part(draft, file) for file in files}
    for path in draft.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for file in files:
        if _size(part := _part(draft, file)) > file.size_bytes:
            part.unlink()


def _part(draft: Path, file: RemoteFile) -> Path:
    return draft / f"{file.name}.{file.key}{PART}"


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    if file.sha256 is not None:
        return _hash(path, hashlib.sha256()) == file.sha256
    if file.git_sha1 is not None:
        # git's name of a blob: the hash of "blob <size>\0" and the content.
        start = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
        return _hash(path, start) == file.git_sha1
    return True


def _hash(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sum(files: list[RemoteFile] | tuple[RemoteFile, ...]) -> int:
    return sum(file.size_bytes for file in files)
