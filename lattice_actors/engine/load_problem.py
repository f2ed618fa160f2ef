"""Why a model did not load, in one sentence for the person whose files they are."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST_CAUSE = 240  # characters; mlx-lm lists every missing tensor
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tiktoken.model", "vocab.json")
OUT_OF_MEMORY = ("out of memory", "malloc", "unable to allocate", "insufficient memory")
PASSING = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR}


class LoadProblem(Exception):
    """The model did not load.

    Attributes:
        text: one sentence, without the path of the model.
        permanent: the files are at fault; nothing changes until they do.
    """

    def __init__(self, text: str, permanent: bool) -> None:
        super().__init__(text)
        self.text = text
        self.permanent = permanent


def check_files(folder: Path) -> dict[str, Any]:
    """Return the config; raise `LoadProblem` for what can be seen without loading."""
    if not folder.is_dir():
        raise LoadProblem("The model's folder does not exist.", permanent=True)
    config = _read_object(folder, "config.json")
    if "model_type" not in config:
        raise LoadProblem("config.json does not say model_type.", permanent=True)
    if config.get("model_file") is not None:
        raise LoadProblem(
            "The model wants to run Python code of its own (model_file in config.json), "
            "which is never allowed.",
            permanent=True,
        )
    if not any(folder.glob("model*.safetensors")):
        raise LoadProblem("There is no model*.safetensors file.", permanent=True)
    if (folder / "model.safetensors.index.json").is_file():
        _check_shards(folder)
    # Without any of these transformers would make up an empty tokenizer or ask the network.
    if not any((folder / name).is_file() for name in TOKENIZER_FILES) and not any(
        folder.glob("*.tiktoken")
    ):
        raise LoadProblem("There is no tokenizer (tokenizer.json is missing).", permanent=True)
    return config


@contextmanager
def explained(what: str, folder: Path) -> Iterator[None]:
    """Turn any exception of the block into a `LoadProblem` that says *what* went wrong."""
    try:
        yield
    except LoadProblem:
        raise
    except Exception as error:
        cause = _cause(error, folder)
        lowered = cause.lower()
        if isinstance(error, MemoryError) or any(word in lowered for word in OUT_OF_MEMORY):
            text = f"There is not enough memory for the model: {cause}"
            raise LoadProblem(text, permanent=False) from error
        passing = isinstance(error, OSError) and error.errno in PASSING
        raise LoadProblem(f"{what}: {cause}", permanent=not passing) from error


def _check_shards(folder: Path) -> None:
    names = _read_object(folder, "model.safetensors.index.json").get("weight_map", {})
    if not isinstance(names, dict):
        raise LoadProblem("model.safetensors.index.json has no weight_map.", permanent=True)
    missing = sorted({str(name) for name in names.values() if not (folder / str(name)).is_file()})
    if missing:
        raise LoadProblem(
            f"{len(missing)} of the weight files are missing, the first is {missing[0]}.",
            permanent=True,
        )


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise LoadProblem(f"{name} is missing.", permanent=True) from None
    except (ValueError, RecursionError):
        raise LoadProblem(f"{name} is cut off or no JSON.", permanent=True) from None
    except OSError as error:
        cause = error.strerror or str(error)
        raise LoadProblem(f"{name} cannot be read: {cause}.", permanent=True) from None
    if not isinstance(value, dict):
        raise LoadProblem(f"{name} is no JSON object.", permanent=True)
    return value


def _cause(error: Exception, folder: Path) -> str:
    """One line, without the path and without mlx-lm's endless lists."""
    text = str(error) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"{error} is missing"
    for spelling in (str(folder.resolve()), str(folder)):
        text = text.replace(f"{spelling}/", "").replace(spelling, "the model's folder")
    text = " ".join(text.split())
    if len(text) > LONGEST_CAUSE:
        text = text[: LONGEST_CAUSE - 1] + "…"
    return text
