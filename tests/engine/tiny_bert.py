"""Tiny random encoders, and what they must compute, written a second time in numpy.

The numpy side was held to transformers' own BertModel and XLMRobertaModel (tests/engine/
test_embedding.py says how far apart they are allowed to be).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

Matrix = npt.NDArray[np.float64]

WIDTH, INNER, HEADS, LAYERS, POSITIONS = 32, 48, 4, 2, 40
WORDS = [
    *("the", "cat", "sat", "on", "a", "mat", "dog", "ran"),
    *("far", "away", "over", "hill", "and", "valley", "in", "rain"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
MODULES = ("Transformer", "Pooling", "Normalize")


def write_tiny_bert(
    folder: Path,
    *,
    seed: int = 3,
    pooling: str = "mean_tokens",
    modules: Sequence[str] = MODULES,
    **config: object,
) -> Path:
    """Write a whole model directory; another *seed* gives another model."""
    folder.mkdir(parents=True)
    vocab = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    settings: dict[str, Any] = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "vocab_size": len(vocab),
        "pad_token_id": 0,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    } | config
    (folder / "config.json").write_text(json.dumps(settings))
    steps = [
        {
            "idx": at,
            "name": str(at),
            "path": f"{at}_{kind}",
            "type": f"sentence_transformers.{kind}",
        }
        for at, kind in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    save_file(_weights(settings, seed), folder / "model.safetensors")
    _tokenizer(vocab).save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer(vocab: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)  # as real files have it; nobody may be cut by it unasked
    return tokenizer


def _weights(config: dict[str, Any], seed: int) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "pooler.dense.weight": (width, width),  # there, and not used
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{layer}attention.{part}.weight"] = (width, width)
            shapes[f"{layer}attention.{part}.bias"] = (width,)
        shapes[f"{layer}intermediate.dense.weight"] = (inner, width)
        shapes[f"{layer}intermediate.dense.bias"] = (inner,)
        shapes[f"{layer}output.dense.weight"] = (width, inner)
        shapes[f"{layer}output.dense.bias"] = (width,)
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    for name in norms:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    return {
        name: random.standard_normal(shape).astype(np.float32) * np.float32(0.4)
        for name, shape in shapes.items()
    }


def reference(folder: Path, row: Sequence[int]) -> Matrix:
    """Return the hidden states (length, width) of one text, in float64, without any padding."""
    config = json.loads((folder / "config.json").read_text())
    weights = {
        name: array.astype(float) for name, array in load_file(folder / "model.safetensors").items()
    }
    first = config["pad_token_id"] + 1 if config["model_type"] != "bert" else 0

    def linear(name: str, x: Matrix) -> Matrix:
        y: Matrix = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return y

    def norm(name: str, x: Matrix) -> Matrix:
        centred = x - x.mean(-1, keepdims=True)
        scaled: Matrix = centred / np.sqrt(
            (centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"]
        )
        y: Matrix = scaled * weights[f"{name}.LayerNorm.weight"]
        y += weights[f"{name}.LayerNorm.bias"]
        return y

    places = slice(first, first + len(row))
    x: Matrix = (
        weights["embeddings.word_embeddings.weight"][list(row)]
        + weights["embeddings.position_embeddings.weight"][places]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm("embeddings", x)
    size = config["hidden_size"] // config["num_attention_heads"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            linear(f"{layer}.attention.self.{part}", x) for part in ("query", "key", "value")
        )
        heads = []
        for at in range(0, config["hidden_size"], size):
            own = slice(at, at + size)
            scores = np.exp(query[:, own] @ key[:, own].T / math.sqrt(size))
            heads.append(scores / scores.sum(-1, keepdims=True) @ value[:, own])
        mixed = linear(f"{layer}.attention.output.dense", np.concatenate(heads, -1))
        x = norm(f"{layer}.attention.output", x + mixed)
        inner = linear(f"{layer}.intermediate.dense", x)
        inner *= (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        x = norm(f"{layer}.output", x + linear(f"{layer}.output.dense", inner))
    return x
