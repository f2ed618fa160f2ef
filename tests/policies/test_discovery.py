"""Discovery against real files: tiny directories, broken in one way each."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lattice_actors.catalog import architecture
from lattice_actors.catalog.discovery import default_root, examine, roots, scan, single
from lattice_actors.catalog.entry import Kind, ModelEntry, Unusable

ROOT = Path(__file__).resolve().parents[2]  # what `python -c` imports from
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "max_position_embeddings": 2048,
}


def safetensors(dtype: str = "F16", size: int = 32) -> bytes:
    tensor = {"dtype": dtype, "shape": [size // 2], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "mlx"}, "model.norm.weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def write_model(directory: Path, config: object = None, **files: bytes | None) -> Path:
    """Write a whole model; *files* replace one of its files, or with None leave it out."""
    directory.mkdir(parents=True, exist_ok=True)
    whole: dict[str, bytes | None] = {
        "raw_config": json.dumps(LLAMA if config is None else config).encode(),
        "weights": safetensors(),
        "tokenizer": b'{"model": {}}\n',
        "tokenizer_config": b'{"chat_template": "{{ messages }}"}',
    }
    names = {
        "raw_config": "config.json",
        "weights": "model.safetensors",
        "tokenizer": "tokenizer.json",
        "tokenizer_config": "tokenizer_config.json",
    }
    for key, content in (whole | files).items():
        if content is not None:
            (directory / names[key]).write_bytes(content)
    return directory


def entry(directory: Path) -> ModelEntry:
    found = examine(directory, directory.name)
    assert isinstance(found, ModelEntry), found
    return found


def reason(directory: Path) -> str:
    found = examine(directory, directory.name)
    assert isinstance(found, Unusable), found
    return found.reason


# --- the walk ---------------------------------------------------------------------------------


def test_models_lie_in_the_root_or_one_publisher_down_and_no_deeper(tmp_path: Path) -> None:
    for name in ("zeta", "Alpha", "pub/b", "pub/a", "pub/deep/er", ".hidden/x"):
        write_model(tmp_path / name)
    (tmp_path / "file").write_text("")

    snapshot = scan(tmp_path)

    assert [model.id for model in snapshot.models] == ["Alpha", "pub/a", "pub/b", "zeta"]
    assert snapshot.unusable == ()
    assert snapshot.get("pub/a") == snapshot.models[1]


def test_what_is_in_a_model_is_no_model_of_its_own(tmp_path: Path) -> None:
    write_model(tmp_path / "outer")
    write_model(tmp_path / "outer" / "inner")

    assert [model.id for model in scan(tmp_path).models] == ["outer"]


def test_a_root_that_is_not_there_is_empty(tmp_path: Path) -> None:
    snapshot = scan(tmp_path / "absent")

    assert (snapshot.models, snapshot.unusable) == ((), ())


def test_a_root_that_is_a_model_is_that_model(tmp_path: Path) -> None:
    root = write_model(tmp_path / "only")

    assert [model.id for model in scan(root).models] == ["only"]


def test_broken_ones_are_listed_and_the_others_stay(tmp_path: Path) -> None:
    write_model(tmp_path / "pub" / "good")
    write_model(tmp_path / "pub" / "bad", weights=None)
    gguf = tmp_path / "pub" / "quantised-GGUF"
    gguf.mkdir()
    (gguf / "x.Q4_K_M.gguf").write_bytes(b"GGUF")

    snapshot = scan(tmp_path)

    assert [model.id for model in snapshot.models] == ["pub/good"]
    assert [(broken.id, broken.reason) for broken in snapshot.unusable] == [
        ("pub/bad", "no weights (model*.safetensors)"),
        ("pub/quantised-GGUF", "holds GGUF weights; MLX needs model*.safetensors"),
    ]


def test_a_name_that_is_no_text_is_listed_escaped(tmp_path: Path) -> None:
    lines = write_model(tmp_path / "two\r\nlines")

    broken = (*scan(tmp_path).unusable, examine(lines, os.fsdecode(b"bad\xff")))

    assert [one.id for one in broken] == ["two\\r\\nlines", "bad\\udcff"]
    assert all(isinstance(one, Unusable) and "not UTF-8" in one.reason for one in broken)


@contextmanager
def nobody() -> Iterator[Path]:
    """Yield a folder, as a user whom permissions bind also where the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:
        user = os.geteuid()
        Path(folder).chmod(0o777)
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_what_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody may not be allowed to read the environment either: what is looked up in it is known.
    scan(write_model(tmp_path / "any").parent)
    installed = find_spec("mlx_lm")
    monkeypatch.setattr(architecture, "find_spec", lambda name: installed)
    with nobody() as root:
        write_model(root / "good")
        (write_model(root / "secret") / "config.json").chmod(0)
        closed = root / "closed"
        closed.mkdir()
        closed.chmod(0)

        snapshot = scan(root)
        closed.chmod(0o700)

    assert [model.id for model in snapshot.models] == ["good"]
    assert [(broken.id, broken.reason) for broken in snapshot.unusable] == [
        ("closed", "cannot be read: Permission denied"),
        ("secret", "cannot be read: Permission denied"),
    ]


def test_one_model_is_a_catalog_under_its_display_name(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "pub" / "m")

    assert [model.id for model in single(directory).models] == ["m"]
    assert [model.id for model in single(directory, "mlx").models] == ["mlx"]
    assert [broken.id for broken in single(tmp_path / "absent").unusable] == ["absent"]


def test_the_usual_places_are_under_home(tmp_path: Path) -> None:
    last = tmp_path / ".cache/mlx-models"
    last.mkdir(parents=True)

    assert roots(tmp_path)[0] == tmp_path / ".lmstudio/models"
    assert default_root(roots(tmp_path)) == last
    assert default_root((tmp_path / "absent",)) is None


# --- the facts --------------------------------------------------------------------------------


def test_the_facts_are_the_models_own(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "m")
    os.utime(directory, (1000, 2000))

    found = entry(directory)

    assert found == ModelEntry(
        id="m",
        path=directory,
        created=2000,
        weights_bytes=32,
        context_tokens=2048,
        kv_bytes_per_token=2 * 2 * 2 * 16 * 2,
    )


def test_a_float32_model_has_a_cache_twice_as_large(tmp_path: Path) -> None:
    half = entry(write_model(tmp_path / "half", weights=safetensors("BF16")))
    full = entry(write_model(tmp_path / "full", weights=safetensors("F32")))

    assert full.kv_bytes_per_token == 2 * half.kv_bytes_per_token


def test_latent_attention_caches_one_compressed_vector(tmp_path: Path) -> None:
    config = LLAMA | {"model_type": "deepseek_v2", "kv_lora_rank": 512, "qk_rope_head_dim": 64}

    assert entry(write_model(tmp_path / "m", config)).kv_bytes_per_token == 2 * (512 + 64) * 2


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": None, "n_ctx": 1024}, 1024),
        ({"max_position_embeddings": True, "text_config": {"n_positions": 512}}, 512),
        ({"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": "2048"}, None),
    ],
)
def test_the_context_stands_under_many_names(
    tmp_path: Path, config: dict[str, Any], context: int | None
) -> None:
    assert entry(write_model(tmp_path / "m", LLAMA | config)).context_tokens == context


def test_a_vision_tower_and_a_missing_template_are_noted(tmp_path: Path) -> None:
    config = {"model_type": "qwen2_5_vl", "vision_config": {}, "text_config": LLAMA}

    found = entry(write_model(tmp_path / "m", config, tokenizer_config=b"{}"))

    assert found.has_vision
    assert not found.has_chat_template
    assert found.context_tokens == 2048
    (tmp_path / "m" / "chat_template.jinja").write_text("{{ messages }}")
    assert entry(tmp_path / "m").has_chat_template


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen3", "kimi_k2", "phi-msft"])
def test_what_mlx_lm_runs_is_known(tmp_path: Path, model_type: str) -> None:
    directory = write_model(tmp_path / "m", LLAMA | {"model_type": model_type})

    assert entry(directory).kind is Kind.CHAT


@pytest.mark.parametrize("name", ["Qwen3-Embedding-0.6B", "bge-m3", "nomic-embed-text", "multi-e5"])
def test_an_embedding_model_is_told_by_its_name(tmp_path: Path, name: str) -> None:
    found = entry(write_model(tmp_path / name))

    assert (found.kind, found.kv_bytes_per_token) == (Kind.EMBEDDING, 0)


def test_an_embedding_model_is_told_by_its_files_and_architecture(tmp_path: Path) -> None:
    files = write_model(tmp_path / "a")
    (files / "modules.json").write_text("[]")
    encoder = write_model(tmp_path / "b", {"model_type": "bert", "architectures": ["BertModel"]})

    assert entry(files).kind is Kind.EMBEDDING
    assert entry(encoder).kind is Kind.EMBEDDING


def test_the_context_of_an_embedding_model_is_what_its_texts_may_have(tmp_path: Path) -> None:
    config = {"model_type": "bert", "max_position_embeddings": 512}
    directory = write_model(tmp_path / "m", config)
    (directory / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')

    assert entry(directory).context_tokens == 256


@pytest.mark.parametrize("model_type", ["nomic_bert", "mpnet", "modernbert"])
def test_an_encoder_that_nothing_here_runs_is_unusable(tmp_path: Path, model_type: str) -> None:
    broken = reason(write_model(tmp_path / "m", {"model_type": model_type}))

    assert model_type in broken


# --- what is broken ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "config.json is no JSON object"),
        ({}, "config.json names no model_type"),
        ({"model_type": 5}, "config.json names no model_type"),
        ({"model_type": "whisper"}, "mlx-lm does not know the architecture 'whisper'"),
        ({"model_type": "cache"}, "mlx-lm does not know the architecture 'cache'"),
        (LLAMA | {"model_type": "olmo"}, "mlx-lm needs the package hf_olmo for 'olmo'"),
        ({"model_type": "../utils"}, "mlx-lm does not know the architecture '../utils'"),
        (LLAMA | {"model_file": "own.py"}, "needs code of its own (model_file)"),
        (LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, "is a classifier"),
    ],
)
def test_a_config_that_cannot_run_is_a_reason(tmp_path: Path, config: object, said: str) -> None:
    assert reason(write_model(tmp_path / "m", config)).startswith(said)


WHOLE = safetensors()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"raw_config": b"{"}, "config.json is damaged"),
        ({"raw_config": b"\xff\xfe{}"}, "config.json is damaged"),
        ({"raw_config": b"[" * 200_000}, "config.json is damaged"),
        ({"raw_config": None}, "no config.json"),
        ({"weights": None}, "no weights"),
        ({"weights": b""}, "model.safetensors is cut off"),
        ({"weights": WHOLE[:20]}, "model.safetensors is cut off"),
        ({"weights": WHOLE[:-1]}, f"model.safetensors is cut off: {len(WHOLE) - 1} bytes"),
        ({"weights": b"\xff" * 64}, "model.safetensors is cut off"),
        ({"weights": struct.pack("<Q", 4) + b"\xff\xff{}"}, "model.safetensors has a damaged"),
        ({"weights": struct.pack("<Q", 2) + b"[]"}, "the weight files hold no tensor"),
        ({"weights": struct.pack("<Q", 8) + b'{"a": 5}'}, "model.safetensors has a damaged"),
        ({"tokenizer": None}, "no tokenizer"),
        ({"tokenizer": b'{"model": {"vocab"'}, "tokenizer.json is cut off or damaged"),
        ({"tokenizer": b""}, "tokenizer.json is cut off or damaged"),
        ({"tokenizer_config": b"{"}, "tokenizer_config.json is damaged"),
    ],
)
def test_damage_is_a_reason(tmp_path: Path, files: dict[str, bytes | None], said: str) -> None:
    assert reason(write_model(tmp_path / "m", None, **files)).startswith(said)


def test_all_shards_count(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "m")
    (directory / "model-2.safetensors").write_bytes(safetensors(size=64))
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))

    assert entry(directory).weights_bytes == 32 + 64


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "m")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))

    assert reason(directory).endswith("missing: model-00002-of-00002.safetensors")

    (directory / "model.safetensors.index.json").write_text("5")
    assert reason(directory) == "model.safetensors.index.json is damaged"


def test_looking_never_imports_mlx(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    program = (
        "import sys, pathlib\n"
        "from lattice_actors.catalog.discovery import scan\n"
        f"assert scan(pathlib.Path({str(tmp_path)!r})).models\n"
        "assert not [name for name in sys.modules if name.startswith('mlx')]\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)


def test_what_is_called_known_can_be_imported_and_nothing_else(tmp_path: Path) -> None:
    """Against the real thing, in a process of its own: some of these modules end it."""
    program = (
        "import importlib, pathlib, sys\n"
        "import mlx_lm.models\n"
        "from lattice_actors.catalog.architecture import has_model, missing_package\n"
        "for file in pathlib.Path(mlx_lm.models.__path__[0]).glob('*.py'):\n"
        "    name = file.stem\n"
        "    try:\n"
        "        module = importlib.import_module('mlx_lm.models.' + name)\n"
        "        real = hasattr(module, 'Model') and hasattr(module, 'ModelArgs')\n"
        "    except (ImportError, SystemExit):\n"
        "        real = False\n"
        "    said = has_model(name) and missing_package(name) is None\n"
        "    assert said == real, (name, said, real)\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, cwd=ROOT)
