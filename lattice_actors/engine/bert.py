"""The encoder of BERT and RoBERTa in MLX (arXiv:1810.04805; arXiv:1907.11692).

Post-norm transformer layers over learned positions. The two differ in where positions begin:
RoBERTa counts from behind the id of its padding. Written over the tensors as the files name
them, so that there is nothing to rename.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import mlx.core as mx

from lattice_actors.catalog.sentences import ENCODERS, padding_id

QUERIES = 512  # rows of the attention matrix at a time: of 8192 tokens it has gigabytes
LARGE_TOKENS = 2048  # a step of more is computed layer by layer, with a word in between

_PREFIXES = ("bert.", "roberta.")  # where the encoder is a part of a larger model
_HEADS = ("pooler.", "cls.", "lm_head.")  # of that larger model; no vector of ours needs them
_OLD_NAMES = ((".gamma", ".weight"), (".beta", ".bias"))  # of norms, in the first years' files


def _gelu(x: mx.array) -> mx.array:
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def _gelu_by_tanh(x: mx.array) -> mx.array:
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _relu(x: mx.array) -> mx.array:
    return mx.maximum(x, 0)


_ACTIVATIONS: Mapping[str, Callable[[mx.array], mx.array]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_by_tanh,
    "gelu_pytorch_tanh": _gelu_by_tanh,
    "relu": _relu,
}


@attrs.frozen(eq=False)
class Encoder:
    """Raises KeyError or ValueError where config and tensors make no encoder we know."""

    config: Mapping[str, Any]
    weights: Mapping[str, mx.array] = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("positions that are not absolute are not supported")
        if config.get("hidden_act", "gelu") not in _ACTIVATIONS:
            raise ValueError(f"the activation {config['hidden_act']!r} is not supported")
        shapes = dict(_shapes(config))
        for name, shape in shapes.items():
            if name not in self.weights:
                raise ValueError(f"the tensor {name} is missing")
            if self.weights[name].shape != shape:
                raise ValueError(f"the tensor {name} has the wrong shape")
        if extra := sorted(self.weights.keys() - shapes.keys()):
            raise ValueError(f"the tensor {extra[0]} belongs to no encoder")

    def __call__(self, ids: mx.array, real: mx.array, tick: Callable[[], None]) -> mx.array:
        """Return hidden states (rows, length, width).

        Both arrays are (rows, length): token ids, and True where one is no padding on the right.
        *tick* is called now and then in a long computation, and may end it by raising.
        """
        words, positions, kinds = (
            self.weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        first = padding_id(self.config) + 1 if ENCODERS[self.config["model_type"]] else 0
        # All of a text is of kind 0; a second kind is for pairs.
        x = words[ids] + positions[first : first + ids.shape[1]] + kinds[0]
        x = self._norm("embeddings", x)
        for number in range(self.config["num_hidden_layers"]):
            x = self._layer(f"encoder.layer.{number}", x, real[:, None, None, :])
            if ids.size > LARGE_TOKENS:
                mx.eval(x)
                tick()
        return x

    def _layer(self, name: str, x: mx.array, mask: mx.array) -> mx.array:
        mixed = self._attention(f"{name}.attention", x, mask)
        x = self._norm(f"{name}.attention.output", x + mixed)
        activation = _ACTIVATIONS[self.config.get("hidden_act", "gelu")]
        inner = activation(self._linear(f"{name}.intermediate.dense", x))
        return self._norm(f"{name}.output", x + self._linear(f"{name}.output.dense", inner))

    def _attention(self, name: str, x: mx.array, mask: mx.array) -> mx.array:
        rows, length, width = x.shape
        heads = self.config["num_attention_heads"]
        queries, keys, values = (
            self._linear(f"{name}.self.{part}", x)
            .reshape(rows, length, heads, width // heads)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scale = (width // heads) ** -0.5
        pieces = [
            mx.fast.scaled_dot_product_attention(
                queries[:, :, at : at + QUERIES], keys, values, scale=scale, mask=mask
            )
            for at in range(0, length, QUERIES)
        ]
        mixed = mx.concatenate(pieces, axis=2).transpose(0, 2, 1, 3)
        return self._linear(f"{name}.output.dense", mixed.reshape(rows, length, width))

    def _linear(self, name: str, x: mx.array) -> mx.array:
        return mx.addmm(self.weights[f"{name}.bias"], x, self.weights[f"{name}.weight"].T)

    def _norm(self, name: str, x: mx.array) -> mx.array:
        weight, bias = (self.weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return mx.fast.layer_norm(x, weight, bias, self.config.get("layer_norm_eps", 1e-12))


def encoder_tensors(tensors: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Return those of a file that are the encoder's, heads left out, under the usual names."""
    kept = {}
    for name, tensor in tensors.items():
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        for old, new in _OLD_NAMES:
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if not name.startswith(_HEADS) and name != "embeddings.position_ids":
            kept[name] = tensor
    return kept


def _shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of every tensor that there must be."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    for name, rows in (
        ("word", config["vocab_size"]),
        ("position", config["max_position_embeddings"]),
        ("token_type", config.get("type_vocab_size", 2)),
    ):
        yield f"embeddings.{name}_embeddings.weight", (rows, width)
    norms, linears = ["embeddings"], list[tuple[str, int, int]]()
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        norms += [f"{layer}.attention.output", f"{layer}.output"]
        squares = (*(f"self.{part}" for part in ("query", "key", "value")), "output.dense")
        linears += [(f"{layer}.attention.{part}", width, width) for part in squares]
        linears += [(f"{layer}.intermediate.dense", inner, width)]
        linears += [(f"{layer}.output.dense", width, inner)]
    for name in norms:
        yield f"{name}.LayerNorm.weight", (width,)
        yield f"{name}.LayerNorm.bias", (width,)
    for name, rows, columns in linears:
        yield f"{name}.weight", (rows, columns)
        yield f"{name}.bias", (rows,)
