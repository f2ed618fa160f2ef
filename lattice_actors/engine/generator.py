"""What we use of mlx-lm's `BatchGenerator`, and what a model must offer for it. Types only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mlx_lm.generate import GenerationBatch, PromptProcessingBatch

from .detokenizing import HasDetokenizer
from .sampling import Processor, Sampler
from .token_bytes import Vocabulary

State = list[Any]  # of one stream: one cache of mlx-lm's for each layer, which are untyped
PromptProgress = PromptProcessingBatch.Response
Token = GenerationBatch.Response


class Generator(Protocol):
    """What we use of `BatchGenerator`; tests put failing ones in its place."""

    prefill_step_size: int  # read anew in each step

    @property
    def prompt_cache_nbytes(self) -> int: ...

    @property
    def stream(self) -> Any: ...  # noqa: ANN401  mlx's, which all its work is sent to

    def insert(
        self,
        prompts: list[list[int]],
        max_tokens: list[int] | None = None,
        *,
        samplers: list[Sampler] | None = None,
        logits_processors: list[list[Processor]] | None = None,
        caches: list[Any] | None = None,
        all_tokens: list[list[int]] | None = None,
    ) -> list[int]: ...

    def insert_segments(
        self,
        segments: list[list[list[int]]],
        max_tokens: list[int] | None = None,
        *,
        samplers: list[Sampler] | None = None,
        logits_processors: list[list[Processor]] | None = None,
        caches: list[Any] | None = None,
        all_tokens: list[list[int]] | None = None,
    ) -> list[int]: ...

    def extract_cache(self, uids: list[int]) -> dict[int, tuple[State, list[int]]]: ...

    def next(self) -> tuple[list[PromptProgress], list[Token]]: ...

    def remove(self, uids: list[int]) -> object: ...

    def close(self) -> None: ...


class BatchTokenizer(HasDetokenizer, Vocabulary, Protocol):
    """What we use of a tokenizer here."""


class Model(Protocol):
    """What a loaded model must offer to be decoded."""

    @property
    def model(self) -> object: ...

    @property
    def tokenizer(self) -> BatchTokenizer: ...

    @property
    def eos_token_ids(self) -> Sequence[int]: ...
