"""Which files of a repository MLX needs, and whether it has what makes a model. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import attrs

CONFIG = "config.json"
WEIGHTS = "model*.safetensors"  # what mlx-lm loads; other names are other formats
# Never Python: no code of a repository is run here.
_TOP = (WEIGHTS, "*.json", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
_STEP = re.compile(r"\d+_\w+/config\.json")  # a step of sentence-transformers (modules.json)
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?<![.-])", re.ASCII)
_MAX_NAME = 96  # characters, as the hub has it
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


class NotLoadable(Exception):
    """The repository holds no model that can be run here; the text says why."""


@attrs.frozen
class RemoteFile:
    """One file of a repository, at one commit."""

    name: str
    size_bytes: int
    sha256: str | None = None  # of large files
    git_sha1: str | None = None  # of small ones, as git hashes a blob

    @property
    def key(self) -> str:
        """What tells its content from any other, short enough for a file name."""
        return (self.sha256 or self.git_sha1 or "unknown")[:16]

    @property
    def is_weights(self) -> bool:
        return fnmatchcase(self.name, WEIGHTS)


def is_repository(name: str) -> bool:
    """Return whether *name* can be one of the hub: OWNER/NAME."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def needed(files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return the files to get: the config first and weights last, so that bad news comes early."""
    chosen = [file for file in files if _is_needed(file.name)]
    return tuple(sorted(chosen, key=lambda file: (file.name != CONFIG, file.is_weights, file.name)))


def check(files: Iterable[RemoteFile]) -> None:
    """Refuse a repository whose names tell already that it holds no MLX model.

    Raises:
        NotLoadable: it has no config, no weights that MLX reads, or no tokenizer.
    """
    names = {file.name for file in files}
    weights = [name for name in names if fnmatchcase(name, WEIGHTS)]
    if not weights:
        raise NotLoadable(_no_weights(names))
    if CONFIG not in names:
        raise NotLoadable("it has no config.json")
    if not names.intersection(_TOKENIZERS) and not any(n.endswith(".tiktoken") for n in names):
        raise NotLoadable("it has no tokenizer (tokenizer.json or tokenizer.model)")


def _is_needed(name: str) -> bool:
    if _STEP.fullmatch(name):
        return True
    return "/" not in name and "\\" not in name and any(fnmatchcase(name, one) for one in _TOP)


def _no_weights(names: set[str]) -> str:
    for ending, what in ((".gguf", "GGUF"), (".bin", "PyTorch"), (".pth", "PyTorch")):
        if any(name.endswith(ending) for name in names):
            return f"it holds {what} weights; MLX needs {WEIGHTS}: look for an MLX conversion"
    if any(name.endswith(".safetensors") for name in names):
        return f"its weights are not called {WEIGHTS}"
    return f"it has no weights ({WEIGHTS})"
