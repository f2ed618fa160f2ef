"""What an operator says of an upstream. Values only."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["auto", "openai", "lmstudio", "vllm", "lattice"]
Policy: TypeAlias = Literal["strict", "prefer", "ignore"]


@attrs.frozen
class UpstreamPlan:
    """One OpenAI-compatible server: where it is, and how much is asked of it."""

    name: str  # the first part of its models' ids
    url: str  # without "/v1" and without a slash at its end
    api_key_env: str = ""  # the variable that has the key; "": none is sent
    api_key: str | None = attrs.field(default=None, repr=False)
    kind: Kind = "auto"
    models: tuple[str, ...] = ()  # patterns with "*"; (): all it lists
    embedding_models: tuple[str, ...] = ()  # patterns of those that embed, whatever their names
    concurrency: int = 64  # answers at once over all its models; 0: no limit
    model_concurrency: int = 0  # answers at once of one model; 0: no limit
    policy: Policy = "ignore"  # what it matters that LM Studio has a model loaded
    weight: float = 1.0  # its share where several servers have the same model
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0  # from the request to the first event or comment
    idle_timeout_s: float = 30.0  # between two of them
    probe_timeout_s: float = 5.0
    refresh_s: float = 30.0  # the list of models is asked for this often
    retries: int = 1  # of one request at this server, only before its first token
    eject_after: int = 5  # failures in a row
    eject_s: float = 30.0  # the first time; longer each time

    def __str__(self) -> str:
        return f"{self.name}={self.url}"

    def wants(self, model: str) -> bool:
        """Whether *model*, by its name there, is to be offered."""
        return not self.models or _matches(model, self.models) or self.embeds(model)

    def embeds(self, model: str) -> bool:
        """Whether the operator says that *model* answers with embeddings."""
        return _matches(model, self.embedding_models)

    @property
    def named_models(self) -> tuple[str, ...]:
        """The models that are named without a star."""
        named = dict.fromkeys((*self.models, *self.embedding_models))
        return tuple(model for model in named if "*" not in model)

    def id_of(self, model: str) -> str:
        """Return the id clients see of *model*."""
        return f"{self.name}/{model}"

    def name_of(self, model_id: str) -> str:
        """Return the name its server knows of the model with this id."""
        return model_id.removeprefix(f"{self.name}/")


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    folded = model.casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)
