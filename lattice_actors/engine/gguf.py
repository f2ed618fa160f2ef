"""From a Llama-type GGUF file with a byte-level tokenizer to a directory that mlx-lm loads.

MLX reads GGUF by itself and hands Q4_1 and Q8_0 over as what it calls affine quantisation:
packed weights with scales and biases beside them, in groups of 32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

GROUP = 32
UINT32_BITS = 32
CONTROL = 3  # llama.cpp's type of a token that only the template may write
SAY_EVERY = 50  # tensors

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def convert(
    source: Path, folder: Path, *, quantised: bool, progress: Callable[[str], None]
) -> None:
    """Write config, weights and tokenizer into *folder*; float32 unless *quantised*."""
    loaded = mx.load(str(source), return_metadata=True)
    arrays, metadata = cast("tuple[dict[str, mx.array], dict[str, Any]]", loaded)
    config = _config(metadata)
    if quantised:
        weights, config["quantization"] = _packed(arrays)
    else:
        weights = _unpacked(arrays, progress)
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    progress("writing the weights")
    path = folder / "model.safetensors"
    mx.save_safetensors(str(path), weights, metadata={"format": "mlx"})
    config["weights_bytes"] = path.stat().st_size
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "generation_config.json",
        {name: config[name] for name in ("bos_token_id", "eos_token_id")},
    )
    _tokenizer(metadata).save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(metadata))


def mlx_name(name: str) -> str:
    """``blk.7.attn_q`` → ``model.layers.7.self_attn.q_proj``. KeyError for an unknown tensor."""
    if layer := re.fullmatch(r"blk\.(\d+)\.(\w+)", name):
        return f"model.layers.{layer[1]}.{LAYER_NAMES[layer[2]]}"
    return NAMES[name]


def _unpacked(arrays: dict[str, mx.array], progress: Callable[[str], None]) -> dict[str, mx.array]:
    weights = {}
    names = sorted(name.removesuffix(".weight") for name in arrays if name.endswith(".weight"))
    for number, name in enumerate(names):
        if number % SAY_EVERY == 0:
            progress(f"converting to float32: tensor {number + 1} of {len(names)}")
        weight = arrays[f"{name}.weight"]
        if (scales := arrays.get(f"{name}.scales")) is not None:
            # Scales in float32 first: float16 products would lose bits that float32 has room for.
            weight = mx.dequantize(
                weight,
                scales.astype(mx.float32),
                arrays[f"{name}.biases"].astype(mx.float32),
                group_size=GROUP,
                bits=_bits(weight, scales),
            )
        weights[f"{mlx_name(name)}.weight"] = weight.astype(mx.float32)
        mx.eval(weights[f"{mlx_name(name)}.weight"])
    return weights


def _packed(arrays: dict[str, mx.array]) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Keep what is packed; the rest is float32, and so are the activations.

    In float16 the activations of this model lose their precision (logits were off by 1.6 and the
    answer was wrong); float32 scales cost one bit a weight.
    """
    weights = {}
    quantisation: dict[str, Any] = {"group_size": GROUP, "bits": 4, "mode": "affine"}
    for full_name, array in arrays.items():
        name, _, part = full_name.rpartition(".")
        is_packed = array.dtype == mx.uint32
        weights[f"{mlx_name(name)}.{part}"] = array if is_packed else array.astype(mx.float32)
        if is_packed and (bits := _bits(array, arrays[f"{name}.scales"])) != 4:
            quantisation[mlx_name(name)] = {"group_size": GROUP, "bits": bits, "mode": "affine"}
    return weights, quantisation


def _bits(packed: mx.array, scales: mx.array) -> int:
    return int(packed.shape[-1] * UINT32_BITS // (scales.shape[-1] * GROUP))


def _config(metadata: dict[str, Any]) -> dict[str, Any]:
    def integer(key: str) -> int:
        return int(metadata[key].item())

    def number(key: str) -> float:
        # float32 in the file: 1e-05 is 9.999999747378752e-06 as a double.
        return float(f"{metadata[key].item():.6g}")

    heads = integer("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": integer("llama.embedding_length"),
        "intermediate_size": integer("llama.feed_forward_length"),
        "num_hidden_layers": integer("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": integer("llama.attention.head_count_kv"),
        "head_dim": integer("llama.embedding_length") // heads,
        "max_position_embeddings": integer("llama.context_length"),
        "rms_norm_eps": number("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": number("llama.rope.freq_base"),
        "rope_traditional": True,  # llama.cpp interleaves the rows of q and k
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "bos_token_id": integer("tokenizer.ggml.bos_token_id"),
        "eos_token_id": integer("tokenizer.ggml.eos_token_id"),
    }


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """Rebuild the tokenizer; llama.cpp's ``smollm`` rules are digits one by one, then GPT-2's."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    vocab = {token: number for number, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"].tolist()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind == CONTROL
        ]
    )
    return tokenizer


def _tokenizer_config(metadata: dict[str, Any]) -> dict[str, Any]:
    def token(name: str) -> str:
        number = int(metadata[f"tokenizer.ggml.{name}_token_id"].item())
        text: str = metadata["tokenizer.ggml.tokens"][number]
        return text

    return {
        # Not GPT2Tokenizer: that class would build its own rules, without the digits.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "model_max_length": int(metadata["llama.context_length"].item()),
        "clean_up_tokenization_spaces": False,
        "chat_template": metadata["tokenizer.chat_template"],
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
