"""Which models lie in a folder, and which only look like it. Reads files, imports no MLX.

A directory with a config.json is a model named after itself; otherwise its children with one are
models ``<publisher>/<name>``; no deeper. What cannot answer is listed with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .architecture import context_of, has_vision, kind_of, kv_bytes_of
from .entry import Kind, ModelEntry, Snapshot, Unusable
from .sentences import read_recipe
from .weights import BrokenModel, read_weights

DEFAULT_ROOTS = ("~/.lmstudio/models", "~/.cache/lm-studio/models", "~/.cache/mlx-models")
MAX_JSON_BYTES = 32 * 2**20  # real configs have kilobytes, tokenizer configs up to a few megabytes
_CONFIG = "config.json"
_WEIGHTS = (".safetensors", ".gguf")
_EDGE_BYTES = 64  # of a tokenizer.json that are looked at on either side
_SENTENCE_FILES = ("modules.json", "config_sentence_transformers.json", "1_Pooling")
# One of these sets is a tokenizer that transformers can read.
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "chat_template.py")


def roots(home: Path | None = None) -> tuple[Path, ...]:
    """Return where models usually lie, best first; they need not exist."""
    home = home if home is not None else Path.home()
    return tuple(home / root.removeprefix("~/") for root in DEFAULT_ROOTS)


def default_root(candidates: Sequence[Path] | None = None) -> Path | None:
    """Return the first of *candidates* (`roots()`) that is a directory."""
    return next((root for root in (candidates or roots()) if root.is_dir()), None)


def scan(root: Path) -> Snapshot:
    """Return what lies in *root*; a root that is not there is empty."""
    found = [examine(directory, name) for name, directory in _find(root)]
    models = [one for one in found if isinstance(one, ModelEntry)]
    unusable = [one for one in found if isinstance(one, Unusable)]
    return Snapshot(
        tuple(sorted(models, key=lambda model: _order(model.id))),
        tuple(sorted(unusable, key=lambda broken: _order(broken.id))),
        root,
    )


def single(path: Path, display_name: str | None = None) -> Snapshot:
    """Return a catalog of the one model directory *path*, under *display_name* if given."""
    found = examine(path, display_name or path.resolve().name)
    if isinstance(found, ModelEntry):
        return Snapshot((found,), (), path)
    return Snapshot((), (found,), path)


def examine(directory: Path, name: str) -> ModelEntry | Unusable:
    """Return the model in *directory*, or why it is none."""
    try:
        _check_name(name)
        config = _read_object(directory / _CONFIG)
        sentences = any((directory / file).exists() for file in _SENTENCE_FILES)
        kind = kind_of(name, config, sentences)
        context = context_of(config)
        if kind is Kind.EMBEDDING:
            context = read_recipe(directory, config).longest_tokens or context
        weights = read_weights(directory)
        _check_tokenizer(directory)
        return ModelEntry(
            id=name,
            kind=kind,
            path=directory,
            created=int(directory.stat().st_mtime),
            weights_bytes=weights.total_bytes,
            context_tokens=context,
            kv_bytes_per_token=(
                kv_bytes_of(config, weights.float_bytes) if kind is Kind.CHAT else 0
            ),
            has_vision=has_vision(config),
            has_chat_template=_has_chat_template(directory),
        )
    except BrokenModel as broken:
        return Unusable(_shown(name), directory, str(broken))
    except OSError as error:
        return Unusable(_shown(name), directory, f"cannot be read: {error.strerror or error}")


def _find(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and directory of what is, or should be, a model; unreadable ones too."""
    if _looks_like_model(root):
        yield root.resolve().name, root
        return
    for child in _directories(root):
        if _looks_like_model(child):
            yield child.name, child
            continue
        for grandchild in _directories(child):
            if _looks_like_model(grandchild):
                yield f"{child.name}/{grandchild.name}", grandchild


def _looks_like_model(directory: Path) -> bool:
    try:
        names = [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # cannot be looked into: `examine` says why
    return any(name == _CONFIG or name.endswith(_WEIGHTS) for name in names)


def _directories(directory: Path) -> list[Path]:
    """Return the directories in *directory*; none where it is not there."""
    try:
        children = [child for child in directory.iterdir() if not child.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [child for child in children if child.is_dir()]


def _check_name(name: str) -> None:
    # It goes into headers and log lines; a file name may hold any bytes.
    if not name.isprintable():
        raise BrokenModel("its name has control characters or is not UTF-8")


def _read_object(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise BrokenModel(f"{file.name} is too large")
        loaded = json.loads(file.read_bytes())
    except FileNotFoundError:
        if any(file.parent.glob("*.gguf")):
            raise BrokenModel("holds GGUF weights; MLX needs model*.safetensors") from None
        raise BrokenModel(f"no {file.name}") from None
    except (ValueError, RecursionError):
        raise BrokenModel(f"{file.name} is damaged") from None
    if not isinstance(loaded, dict):
        raise BrokenModel(f"{file.name} is no JSON object")
    return loaded


def _check_tokenizer(directory: Path) -> None:
    if not any(all((directory / file).is_file() for file in files) for files in _TOKENIZERS):
        raise BrokenModel("no tokenizer (tokenizer.json or tokenizer.model)")
    file = directory / "tokenizer.json"
    if not file.is_file():
        return
    # Parsing 20 MB for every scan is too slow; a file that was cut does not end with its brace.
    with file.open("rb") as stream:
        start = stream.read(_EDGE_BYTES).lstrip()
        stream.seek(max(0, file.stat().st_size - _EDGE_BYTES))
        end = stream.read().rstrip()
    if not (start.startswith(b"{") and end.endswith(b"}")):
        raise BrokenModel("tokenizer.json is cut off or damaged")


def _has_chat_template(directory: Path) -> bool:
    if any((directory / file).is_file() for file in _TEMPLATES):
        return True
    file = directory / "tokenizer_config.json"
    return file.is_file() and bool(_read_object(file).get("chat_template"))


def _order(name: str) -> tuple[str, str]:
    return name.casefold(), name


def _shown(name: str) -> str:
    """Return *name* with what cannot be printed, or is no UTF-8, escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
