"""Load a model directory with mlx-lm, run it once, and measure what admission must know.

Import this after `blas.prepare`, since it imports mlx. Nothing here asks the network, and no
code that a model brings along is ever run.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import mlx.core as mx
from mlx_lm.models.cache import CacheList, make_prompt_cache
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_model, load_tokenizer

from lattice_actors.catalog.architecture import context_of

from .load_problem import LoadProblem, check_files, explained
from .resident import resident_bytes

__all__ = ["LoadProblem", "LoadedModel", "load"]

WARM_UP_TOKENS = 64
DECODE_STEPS = 6
REPEAT_WITHIN_S = 4.0  # a slower first prefill is not worth a second, warm one
UNKNOWN_CONTEXT = 4096  # tokens, for configs that do not say
WARM_UP_TEXT = "The quick brown fox jumps over the lazy dog. "


@attrs.frozen(eq=False)
class LoadedModel:
    """A model that has answered once.

    Attributes:
        context_tokens: the model's own limit on prompt plus answer.
        vocab: the length of a row of logits; every token id must be below it.
        kv_bytes_per_token: cache memory of one token of one stream.
        eos_token_ids: the ids that end an answer.
        resident_bytes: memory of this process after the warm-up.
        decode_step_s: one token of one stream, the median of a few.
        prefill_tokens_per_s: prompt tokens a second.
    """

    model: Any = attrs.field(repr=False)
    tokenizer: TokenizerWrapper = attrs.field(repr=False)
    context_tokens: int
    vocab: int
    kv_bytes_per_token: int
    eos_token_ids: list[int]
    resident_bytes: int
    decode_step_s: float
    prefill_tokens_per_s: float


def load(path: Path, report: Callable[[str], None]) -> LoadedModel:
    """Load the directory *path*; *report* is told each stage as it begins.

    Raises:
        LoadProblem: the files are broken, or there is no memory for them.
    """
    config = check_files(path)
    report("weights")
    model, config = _load_weights(path, config)
    report("tokenizer")
    tokenizer = _load_tokenizer(path, config)
    report("warm-up")
    with explained("The model cannot be run", path):
        warmth = _warm_up(model, _some_tokens(tokenizer), report)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_tokens=context_of(config) or UNKNOWN_CONTEXT,
        vocab=warmth.vocab,
        kv_bytes_per_token=warmth.kv_bytes_per_token,
        eos_token_ids=sorted(tokenizer.eos_token_ids),
        resident_bytes=resident_bytes(),
        decode_step_s=warmth.decode_step_s,
        prefill_tokens_per_s=warmth.prefill_tokens_per_s,
    )


def _load_weights(path: Path, config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    try:
        with explained("The weights do not load", path):
            model, loaded_config = load_model(path, lazy=False, trust_remote_code=False)
            return model, loaded_config
    except LoadProblem as problem:
        if "not supported" in problem.text and isinstance(problem.__cause__, ValueError):
            raise LoadProblem(
                f"The architecture {str(config['model_type'])[:60]!r} is not known to mlx-lm.",
                permanent=True,
            ) from problem
        raise


def _load_tokenizer(path: Path, config: dict[str, Any]) -> TokenizerWrapper:
    # trust_remote_code must be said: left out, transformers asks on the terminal.
    never_remote = {"trust_remote_code": False, "local_files_only": True}
    with explained("The tokenizer does not load", path):
        tokenizer: TokenizerWrapper = load_tokenizer(  # type: ignore[no-untyped-call]
            path, never_remote, eos_token_ids=config.get("eos_token_id")
        )
        if len(tokenizer.get_vocab()) == 0:
            raise LoadProblem("The tokenizer is empty.", permanent=True)
        return tokenizer


def _some_tokens(tokenizer: TokenizerWrapper) -> list[int]:
    tokens: list[int] = tokenizer.encode(WARM_UP_TEXT * WARM_UP_TOKENS, add_special_tokens=False)
    return list(tokens[:WARM_UP_TOKENS]) or [0]


@attrs.frozen
class _Warmth:
    vocab: int
    kv_bytes_per_token: int
    decode_step_s: float
    prefill_tokens_per_s: float


def _warm_up(
    model: Callable[..., mx.array], tokens: list[int], report: Callable[[str], None]
) -> _Warmth:
    prompt = mx.array([tokens])
    cache, logits, prefill_s = _prefill(model, prompt)
    if prefill_s < REPEAT_WITHIN_S:  # the first one also read the weights and built kernels
        cache, logits, prefill_s = _prefill(model, prompt)
    report("warm-up: decode")
    steps_s = []
    for _ in range(DECODE_STEPS):
        token = mx.argmax(logits[:, -1:], axis=-1)
        begun = time.perf_counter()
        logits = model(token, cache=cache)
        _refuse_nan(logits)
        steps_s.append(time.perf_counter() - begun)
    warmth = _Warmth(
        vocab=int(logits.shape[-1]),
        kv_bytes_per_token=_bytes_per_token(cache, len(tokens) + DECODE_STEPS),
        decode_step_s=statistics.median(steps_s),
        prefill_tokens_per_s=len(tokens) / prefill_s,
    )
    del cache, logits
    mx.clear_cache()
    return warmth


def _prefill(model: Callable[..., mx.array], prompt: mx.array) -> tuple[list[Any], mx.array, float]:
    cache = make_prompt_cache(model)
    begun = time.perf_counter()
    logits = model(prompt, cache=cache)
    _refuse_nan(logits)
    return cache, logits, time.perf_counter() - begun


def _refuse_nan(logits: mx.array) -> None:
    if mx.isnan(logits).any().item():
        raise LoadProblem(
            "The weights are damaged: the model computes NaN (not a number).", permanent=True
        )


def _bytes_per_token(cache: list[Any], tokens: int) -> int:
    """Add up what one more token costs in each layer's cache.

    Caches grow in chunks, so their size is divided by the positions they have room for. A
    sliding window counts in full: an upper bound. States of constant size count nothing.
    """
    per_token = sum(
        array.nbytes / array.shape[2] for array in _keys_and_values(cache) if array.ndim == 4
    )
    if per_token == 0:
        per_token = sum(layer.nbytes for layer in cache) / tokens
    return math.ceil(per_token)


def _keys_and_values(caches: Iterable[object]) -> Iterator[mx.array]:
    for cache in caches:
        if isinstance(cache, CacheList):  # two kinds of cache in one layer
            yield from _keys_and_values(cache.caches)
        for name in ("keys", "values"):
            if isinstance(array := getattr(cache, name, None), mx.array):
                yield array
