"""An embedding model: from rows of token ids to one vector each.

Encoders are ours (`bert`), decoders mlx-lm's. Import this after `blas.prepare`. Vectors are
float32, pooled in float32 whatever the weights are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import mlx.core as mx
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lattice_actors.catalog.sentences import ENCODERS, Pooling, Recipe, read_recipe
from lattice_actors.catalog.weights import BrokenModel

from .bert import Encoder, encoder_tensors
from .load_problem import LoadProblem, check_files, explained
from .resident import resident_bytes

__all__ = ["Embedder", "LoadProblem", "Vectors", "load_embedder"]

Vectors = npt.NDArray[np.float32]  # (texts, width)
Tick = Callable[[], None]
Hidden = Callable[[mx.array, mx.array, Tick], mx.array]  # ids, which are real -> states

UNKNOWN_CONTEXT = 512  # tokens, for models that do not say: as long as BERT was trained
CHUNK_TOKENS = 512  # of a long text that a decoder reads at a time
WARM_UP = (4, 64)  # texts, tokens
_NO_LENGTH = 1e-12  # a vector that is shorter stays as it is


@attrs.frozen(eq=False)
class Embedder:
    """A model that has embedded once.

    Attributes:
        longest_tokens: of one text, special tokens included.
        vocab: every token id must be below it.
        width: numbers of a vector.
        short_step_s: one short text alone.
        tokens_per_s: in a step of several texts.
    """

    hidden: Hidden = attrs.field(repr=False)
    tokenizer: Tokenizer = attrs.field(repr=False)
    recipe: Recipe
    longest_tokens: int
    vocab: int
    width: int = 0
    resident_bytes: int = 0
    short_step_s: float = 0.0
    tokens_per_s: float = 0.0

    def embed(self, rows: Sequence[Sequence[int]], tick: Tick = lambda: None) -> Vectors:
        """Return a vector for each row of token ids; no row is empty.

        *tick* is called now and then in a long computation, and may end it by raising.
        """
        lengths = np.array([len(row) for row in rows])
        real = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.zeros(real.shape, dtype=np.int32)
        ids[real] = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])
        mask = mx.array(real)
        hidden = self.hidden(mx.array(ids), mask, tick).astype(mx.float32)
        vectors = _pooled(hidden, mask, mx.array(lengths), self.recipe.pooling)
        if self.recipe.normalize:
            vectors = vectors / mx.maximum(
                mx.linalg.norm(vectors, axis=-1, keepdims=True), _NO_LENGTH
            )
        told: Vectors = np.array(vectors, copy=True)
        return told


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """Return the first *dimensions* numbers of each vector, at length 1 again."""
    short = vectors[:, :dimensions]
    lengths = np.linalg.norm(short, axis=-1, keepdims=True)
    scaled: Vectors = short / np.maximum(lengths, np.float32(_NO_LENGTH))
    return scaled


def load_embedder(path: Path, report: Callable[[str], None]) -> Embedder:
    """Load the directory *path*; *report* is told each stage as it begins.

    Raises:
        LoadProblem: the files are broken, or there is no memory for them.
    """
    config = check_files(path)
    try:
        recipe = read_recipe(path, config)
    except BrokenModel as broken:
        raise LoadProblem(f"The model {broken}.", permanent=True) from broken
    report("weights")
    with explained("The weights do not load", path):
        load = _load_encoder if config["model_type"] in ENCODERS else _load_decoder
        hidden, vocab = load(path, config)
    report("tokenizer")
    tokenizer = load_tokenizer(path)
    longest = recipe.longest_tokens or UNKNOWN_CONTEXT
    report("warm-up")
    with explained("The model cannot be run", path):
        return _warmed_up(Embedder(hidden, tokenizer, recipe, longest, vocab))


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the fast tokenizer, without the cutting and padding its file may ask for."""
    if not (path / "tokenizer.json").is_file():
        raise LoadProblem("There is no tokenizer.json.", permanent=True)
    with explained("The tokenizer does not load", path):
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def _load_encoder(path: Path, config: Mapping[str, Any]) -> tuple[Hidden, int]:
    weights: dict[str, mx.array] = {}
    for file in sorted(path.glob("model*.safetensors")):
        loaded = mx.load(str(file))
        assert isinstance(loaded, dict)
        weights |= encoder_tensors(loaded)
    if mx.default_device() == mx.Device(mx.cpu):  # where float32 is the fast precision
        weights = {name: array.astype(mx.float32) for name, array in weights.items()}
    mx.eval(weights)
    return Encoder(config, weights), int(config["vocab_size"])


def _load_decoder(path: Path, config: Mapping[str, Any]) -> tuple[Hidden, int]:
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load_model

    model, _ = load_model(path, lazy=False, trust_remote_code=False)
    inner = getattr(model, "model", None)
    if inner is None or "vocab_size" not in config:
        text = f"The architecture {str(config['model_type'])[:60]!r} gives no hidden states."
        raise LoadProblem(text, permanent=True)

    def hidden(ids: mx.array, _real: mx.array, tick: Tick) -> mx.array:
        # What pads is on the right, and a decoder looks to the left only.
        if ids.shape[1] <= CHUNK_TOKENS:
            states: mx.array = inner(ids)
            return states
        cache, pieces = make_prompt_cache(model), []
        for at in range(0, ids.shape[1], CHUNK_TOKENS):
            pieces.append(inner(ids[:, at : at + CHUNK_TOKENS], cache=cache))
            mx.eval(pieces[-1])
            tick()
        return mx.concatenate(pieces, axis=1)

    return hidden, int(config["vocab_size"])


def _pooled(hidden: mx.array, real: mx.array, lengths: mx.array, pooling: Pooling) -> mx.array:
    match pooling:
        case "mean":
            return (hidden * real[:, :, None]).sum(axis=1) / lengths[:, None]
        case "cls":
            return hidden[:, 0]
        case "max":
            return mx.where(real[:, :, None], hidden, -mx.inf).max(axis=1)
        case "last":
            return hidden[mx.arange(hidden.shape[0]), lengths - 1]


def _warmed_up(model: Embedder) -> Embedder:
    texts, tokens = WARM_UP
    tokens = min(tokens, model.longest_tokens)
    row = [index % model.vocab for index in range(tokens)]
    vectors = model.embed([row] * texts)  # reads the weights, builds kernels
    if not np.isfinite(vectors).all():
        text = "The weights are damaged: the model computes NaN (not a number)."
        raise LoadProblem(text, permanent=True)
    begun = time.perf_counter()
    model.embed([row] * texts)
    many_s = time.perf_counter() - begun
    begun = time.perf_counter()
    model.embed([row[:8]])
    one_s = time.perf_counter() - begun
    mx.clear_cache()
    return attrs.evolve(
        model,
        width=vectors.shape[1],
        resident_bytes=resident_bytes(),
        short_step_s=one_s,
        tokens_per_s=texts * tokens / many_s,
    )
