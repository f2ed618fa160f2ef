"""Loading through the real mlx-lm loader; every broken directory ends in one plain sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lattice_actors.engine.load_problem import LoadProblem, explained
from lattice_actors.engine.loading import load

KV_BYTES = 2 * 2 * 2 * 16 * 4  # keys and values, layers, kv heads, head size, float32


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to break."""
    return shutil.copytree(tiny_model, tmp_path / "broken")


def problem_of(folder: Path) -> LoadProblem:
    with pytest.raises(LoadProblem) as caught:
        load(folder, lambda stage: None)
    return caught.value


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path, keep: float) -> None:
    os.truncate(path, int(path.stat().st_size * keep))


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_loaded_model_knows_its_measures(tiny_model: Path) -> None:
    stages: list[str] = []
    loaded = load(tiny_model, stages.append)
    assert stages[:3] == ["weights", "tokenizer", "warm-up"]
    assert (loaded.context_tokens, loaded.vocab) == (1024, 290)
    assert loaded.kv_bytes_per_token == KV_BYTES
    assert loaded.eos_token_ids == [2]
    assert loaded.resident_bytes > 50_000_000  # Python, numpy and mlx at least
    assert 0 < loaded.decode_step_s < 10
    assert loaded.prefill_tokens_per_s > 1
    tokenizer: Any = loaded.tokenizer  # mlx-lm's, untyped
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], add_generation_prompt=True
    )
    assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")


def test_generation_config_adds_its_ends(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}))
    assert load(folder, lambda stage: None).eos_token_ids == [0, 2]


def test_a_model_without_a_chat_template_loads(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    assert not load(folder, lambda stage: None).tokenizer.has_chat_template


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights cut off": (lambda f: cut(f / "model.safetensors", 0.6), "weights do not load"),
    "header cut off": (lambda f: os.truncate(f / "model.safetensors", 40), "weights do not load"),
    "header huge": (
        lambda f: overwrite(f / "model.safetensors", 0, (1 << 62).to_bytes(8, "little")),
        "weights do not load",
    ),
    "header not UTF-8": (
        lambda f: overwrite(f / "model.safetensors", 20, b"\xff\xfe\xff\xfe"),
        "weights do not load",
    ),
    "weights empty": (lambda f: os.truncate(f / "model.safetensors", 0), "weights do not load"),
    "weights missing": (lambda f: (f / "model.safetensors").unlink(), "no model*.safetensors"),
    "shard missing": (
        lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})
        ),
        "the first is model-2.safetensors",
    ),
    "folder missing": (shutil.rmtree, "folder does not exist"),
    "config missing": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "config cut off": (lambda f: cut(f / "config.json", 0.5), "config.json is cut off"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "no JSON object"),
    "config nested deep": (lambda f: (f / "config.json").write_text("[" * 10**5), "no JSON"),
    "no model_type": (lambda f: (f / "config.json").write_text("{}"), "does not say model_type"),
    "unknown architecture": (
        lambda f: edit_config(f, model_type="marsupial"),
        "'marsupial' is not known to mlx-lm",
    ),
    "code of its own": (lambda f: edit_config(f, model_file="evil.py"), "never allowed"),
    "tokenizer missing": (lambda f: (f / "tokenizer.json").unlink(), "There is no tokenizer"),
    "tokenizer cut off": (lambda f: cut(f / "tokenizer.json", 0.5), "tokenizer does not load"),
    "tokenizer nonsense": (
        lambda f: (f / "tokenizer.json").write_text('{"model": 3}'),
        "tokenizer does not load",
    ),
    "too many layers": (lambda f: edit_config(f, num_hidden_layers=3), "weights do not load"),
    "too few layers": (lambda f: edit_config(f, num_hidden_layers=1), "weights do not load"),
    "wrong width": (lambda f: edit_config(f, hidden_size=96), "weights do not load"),
    "wrong heads": (lambda f: edit_config(f, num_attention_heads=7), "weights do not load"),
    "width is text": (lambda f: edit_config(f, hidden_size="wide"), "weights do not load"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_files_are_a_permanent_problem_in_one_sentence(folder: Path, name: str) -> None:
    break_it, words = BREAKAGES[name]
    break_it(folder)
    problem = problem_of(folder)
    assert words in problem.text
    assert problem.permanent
    assert "\n" not in problem.text
    assert str(folder) not in problem.text
    assert len(problem.text) < 300


def test_code_of_the_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    edit_config(folder, model_file="evil.py", auto_map={"AutoTokenizer": ["evil.X", None]})
    problem_of(folder)
    edit_config(folder, model_file=None)
    names = folder / "tokenizer_config.json"
    names.write_text(
        json.dumps(json.loads(names.read_text()) | {"auto_map": {"AutoTokenizer": "evil.X"}})
    )
    load(folder, lambda stage: None)
    assert not witness.exists()


def test_flipped_bits_are_found_by_the_warm_up(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = np.nan
    save_file(weights, path)
    problem = problem_of(folder)
    assert "NaN" in problem.text
    assert problem.permanent


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        RuntimeError("[malloc] Unable to allocate 900000000000 bytes."),
        RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory"),
        OSError(24, "Too many open files"),
    ],
    ids=repr,
)
def test_lack_of_room_is_a_passing_problem(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(LoadProblem) as caught, explained("The weights do not load", tmp_path):
        raise error
    assert not caught.value.permanent
