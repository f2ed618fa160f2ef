"""Tiny random Llama directories that the real mlx-lm loader takes.

Two layers, 64 wide, float32, a byte-level tokenizer of 290 tokens with a chat template. Answers
are varied printable nonsense: the rows of special tokens and of bytes outside ASCII in `lm_head`
are zero, so a greedy answer never ends by itself and a test chooses its end with `max_tokens`.
Attention is sharp, so that an answer depends on all of its history.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

Matrix = npt.NDArray[np.float32]

HIDDEN = 64
INNER = 128
LAYERS = 2
HEADS = 4
KV_HEADS = 2
HEAD_DIM = HIDDEN // HEADS
CONTEXT = 1024
SHARP = np.float32(3)  # blurred attention falls into repeating one token
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGED_WORDS = ["the", "Ġthe", "hello", "Ġworld", "capital", "Ġof", "Ġis", "What", "Ġa", "user"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate(SPECIAL + alphabet)}
    merges: list[tuple[str, str]] = []
    for word in MERGED_WORDS:
        prefix = word[0]
        for letter in word[1:]:
            if (prefix, letter) not in merges:
                merges.append((prefix, letter))
                vocab.setdefault(prefix + letter, len(vocab))
            prefix += letter
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return tokenizer


def _weights(vocab: dict[str, int], seed: int) -> dict[str, Matrix]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> Matrix:
        values: Matrix = random.standard_normal((rows, columns), dtype=np.float32)
        return values / np.float32(np.sqrt(columns))

    ones = np.ones(HIDDEN, dtype=np.float32)
    lm_head = matrix(len(vocab), HIDDEN) * np.float32(4)
    for token, number in vocab.items():
        if token in SPECIAL or not token.removeprefix("Ġ").isascii():
            lm_head[number] = 0
    weights = {
        "model.embed_tokens.weight": matrix(len(vocab), HIDDEN) * np.float32(8),
        "model.norm.weight": ones,
        "lm_head.weight": lm_head,
    }
    for number in range(LAYERS):
        layer = f"model.layers.{number}."
        weights |= {
            f"{layer}input_layernorm.weight": ones,
            f"{layer}post_attention_layernorm.weight": ones,
            f"{layer}self_attn.q_proj.weight": matrix(HEADS * HEAD_DIM, HIDDEN) * SHARP,
            f"{layer}self_attn.k_proj.weight": matrix(KV_HEADS * HEAD_DIM, HIDDEN) * SHARP,
            f"{layer}self_attn.v_proj.weight": matrix(KV_HEADS * HEAD_DIM, HIDDEN),
            f"{layer}self_attn.o_proj.weight": matrix(HIDDEN, HEADS * HEAD_DIM),
            f"{layer}mlp.gate_proj.weight": matrix(INNER, HIDDEN),
            f"{layer}mlp.up_proj.weight": matrix(INNER, HIDDEN),
            f"{layer}mlp.down_proj.weight": matrix(HIDDEN, INNER),
        }
    return weights


def write_tiny_model(folder: Path, *, seed: int = 7, **config: object) -> Path:
    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    vocab = tokenizer.get_vocab()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(_weights(vocab, seed), folder / "model.safetensors", metadata={"format": "mlx"})
    settings = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": len(vocab),
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | config
    (folder / "config.json").write_text(json.dumps(settings))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder
