"""A model directory that passes for a model, for a server whose engine is the echo engine."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 8,
    "max_position_embeddings": 8192,
}
WEIGHTS = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 256]}}
TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
}


def write_echo_model(directory: Path, **script: object) -> Path:
    """Write config, tokenizer, 256 bytes of weights and `echo.json`; returns *directory*.

    *script* is what `lattice_actors.engine.echo_script.Script` takes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    header = json.dumps(WEIGHTS).encode()
    header += b" " * (-len(header) % 8)
    weights = len(header).to_bytes(8, "little") + header + bytes(256)
    (directory / "model.safetensors").write_bytes(weights)
    for name, value in {
        "config.json": CONFIG,
        "tokenizer.json": TOKENIZER,
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "echo.json": script,
    }.items():
        (directory / name).write_text(json.dumps(value))
    return directory
