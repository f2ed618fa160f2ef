"""Reading one model directory as far as it can be read, also where it cannot answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lattice_actors.catalog.discovery import MAX_JSON_BYTES
from lattice_actors.catalog.entry import ModelEntry, Unusable
from lattice_actors.catalog.weights import BrokenModel, Tensor, read_tensors

from .facts import Facts, parameters, quantisation
from .here import disk_bytes
from .template import Features, default_template, features, tokens_of


def inspect(found: ModelEntry | Unusable, memory_bytes: int | None) -> Facts:
    """Return the facts of *found*; *memory_bytes*: what a load of it reserves, if it can load."""
    path = found.path
    assert path is not None  # of models on this machine only
    config = _object(path / "config.json")
    tensors = _tensors(path)
    entry = found if isinstance(found, ModelEntry) else None
    classes = config.get("architectures")
    return Facts(
        id=found.id,
        path=path,
        reason=found.reason if isinstance(found, Unusable) else None,
        kind=entry.kind.value if entry is not None else None,
        architecture=str(config["model_type"]) if "model_type" in config else None,
        classes=tuple(map(str, classes)) if isinstance(classes, list) else (),
        quantisation=quantisation(tensors, config) if tensors else None,
        parameters=parameters(tensors, config) if tensors else None,
        disk_bytes=disk_bytes(path),
        weights_bytes=sum(one.size_bytes for one in tensors.values()) if tensors else None,
        memory_bytes=memory_bytes,
        context_tokens=entry.context_tokens if entry is not None else None,
        kv_bytes_per_token=entry.kv_bytes_per_token if entry is not None else None,
        has_vision=entry is not None and entry.has_vision,
        template=_features(path),
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in sorted(path.glob("model*.safetensors")):
        try:
            tensors |= read_tensors(file)
        except (BrokenModel, OSError):
            return {}  # half of it would be a wrong sum; the reason is told already
    return tensors


def _features(path: Path) -> Features | None:
    template = _template(path)
    if template is None:
        return None
    return features(template, tokens_of(_object(path / "tokenizer.json")))


def _template(path: Path) -> str | None:
    try:
        return (path / "chat_template.jinja").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    for file in ("chat_template.json", "tokenizer_config.json"):
        text = default_template(_object(path / file).get("chat_template"))
        if text is not None:
            return text
    return None


def _object(file: Path) -> dict[str, Any]:
    """Return the JSON object in *file*; an empty one where there is none that can be read."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            return {}
        loaded = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
