"""What exists: one entry a model, and the snapshot of all of them. Values only."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

LOCAL = "mlx"  # the backend of models whose engines run here
CLOUD = "anthropic"  # the backend of models in the cloud, and the first part of their ids


class Kind(enum.Enum):
    """What a model is for; an embedding model never answers a chat."""

    CHAT = "chat"
    EMBEDDING = "embedding"


class Standing(enum.Enum):
    """How a model on another server takes part in a choice (LM Studio: what it has loaded)."""

    OPEN = "open"
    ASLEEP = "asleep"  # its server would have to load it: all that need no such load go first
    CLOSED = "closed"  # only loaded models may be chosen, and it is none


@attrs.frozen
class ModelEntry:
    """A model that can be asked. `id` is what clients see, unique in a snapshot."""

    id: str
    kind: Kind = Kind.CHAT
    backend: str = LOCAL  # or the name of an upstream, or `CLOUD`
    path: Path | None = None  # the model directory, for `LOCAL`
    created: int = 0  # Unix time, seconds: when the directory was last changed
    weights_bytes: int = 0  # from the safetensors headers
    context_tokens: int | None = None  # the model's own limit, from its config
    kv_bytes_per_token: int = 0  # 2 x layers x kv heads x head size x bytes, 0: not known
    has_vision: bool = False  # its config has a vision tower (local MLX answers text only)
    has_chat_template: bool = True  # False: a base model, completes text but has no turns
    builtin: bool = False  # the SmolLM2 that comes with the project: never preferred
    name: str = ""  # of an upstream's model: what it is called there; replicas share it
    standing: Standing = Standing.OPEN


@attrs.frozen
class Unusable:
    """A directory that looks like a model but cannot answer, and why."""

    id: str
    path: Path
    reason: str


@attrs.frozen
class Snapshot:
    """The inventory at one moment, sorted by id (the built-in model last)."""

    models: tuple[ModelEntry, ...] = ()
    unusable: tuple[Unusable, ...] = ()
    root: Path | None = None

    def get(self, model: str) -> ModelEntry | None:
        """Return the entry with exactly this id."""
        return next((entry for entry in self.models if entry.id == model), None)
