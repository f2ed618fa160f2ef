"""How the files of an embedding model are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lattice_actors.catalog.sentences import Recipe, read_recipe
from lattice_actors.catalog.weights import BrokenModel

BERT = {"model_type": "bert", "max_position_embeddings": 512}
STEPS = ["Transformer", "Pooling", "Normalize"]


def written(folder: Path, steps: list[str], **files: Any) -> Path:  # noqa: ANN401 - JSON
    folder.mkdir(exist_ok=True)
    modules = [
        {"path": "" if kind == "Transformer" else kind, "type": f"sentence_transformers.{kind}"}
        for kind in steps
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".json").write_text(json.dumps(content))
    return folder


def test_minilm_is_read_as_it_was_made(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        STEPS,
        Pooling__config={"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        sentence_bert_config={"max_seq_length": 256, "do_lower_case": False},
    )

    assert read_recipe(folder, BERT) == Recipe("mean", normalize=True, longest_tokens=256)


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_the_pooling_is_read(tmp_path: Path, said: dict[str, Any], pooling: str) -> None:
    folder = written(tmp_path, ["Transformer", "Pooling"], Pooling__config=said)

    recipe = read_recipe(folder, BERT)

    assert (recipe.pooling, recipe.normalize) == (pooling, False)


def test_a_model_without_these_files_is_taken_as_its_family_is_used(tmp_path: Path) -> None:
    decoder = read_recipe(tmp_path, {"model_type": "qwen3", "max_position_embeddings": 32768})

    assert decoder == Recipe("last", normalize=True, longest_tokens=32768)
    assert read_recipe(tmp_path, BERT) == Recipe("mean", normalize=True, longest_tokens=512)
    assert read_recipe(tmp_path, {"model_type": "bert"}).longest_tokens is None


@pytest.mark.parametrize(("padding", "positions"), [({"pad_token_id": 1}, 512), ({}, 512)])
def test_the_positions_of_roberta_begin_behind_its_padding(
    tmp_path: Path, padding: dict[str, int], positions: int
) -> None:
    config = {"model_type": "xlm-roberta", "max_position_embeddings": 514, **padding}

    assert read_recipe(tmp_path, config).longest_tokens == positions


def test_a_model_says_whether_its_vectors_can_be_shortened(tmp_path: Path) -> None:
    sizes = read_recipe(tmp_path, BERT | {"matryoshka_dimensions": [256, 64, "x", 0]})
    named = tmp_path / "Qwen3-Embedding-0.6B-4bit"
    named.mkdir()

    assert (sizes.shortens, sizes.sizes) == (True, (256, 64))
    assert read_recipe(named, {"model_type": "qwen3"}).shortens
    assert read_recipe(tmp_path, BERT | {"is_matryoshka": True}).shortens
    assert not read_recipe(tmp_path, BERT).shortens


@pytest.mark.parametrize(
    ("steps", "files", "says"),
    [
        ([*STEPS, "Dense"], {}, "'Dense'"),
        (STEPS, {"Pooling__config": {"pooling_mode_weightedmean_tokens": True}}, "weightedmean"),
        (
            STEPS,
            {"Pooling__config": {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}},
            "cls_token and max_tokens",
        ),
        (STEPS, {}, "nothing"),
        (STEPS, {"modules": {}}, "modules.json is damaged"),
        (STEPS, {"modules": [{}]}, "modules.json is damaged"),
        (STEPS, {"modules": [{"type": "a.Pooling", "path": "../x"}]}, "out of the model's folder"),
        (STEPS, {"modules": [{"type": "a.Pooling", "path": "/etc"}]}, "out of the model's folder"),
    ],
)
def test_what_cannot_be_done_here_is_told_and_not_guessed(
    tmp_path: Path, steps: list[str], files: dict[str, Any], says: str
) -> None:
    folder = written(tmp_path, steps, **files)

    with pytest.raises(BrokenModel, match=says):
        read_recipe(folder, BERT)


@pytest.mark.parametrize("config", [{"use_bidirectional_attention": True}, {"is_causal": False}])
def test_a_decoder_that_looks_both_ways_is_refused(tmp_path: Path, config: dict[str, bool]) -> None:
    with pytest.raises(BrokenModel, match="both ways"):
        read_recipe(tmp_path, {"model_type": "gemma3_text", **config})


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_bytes(b"\xff{")

    with pytest.raises(BrokenModel, match=r"modules\.json is damaged"):
        read_recipe(tmp_path, BERT)
    (tmp_path / "modules.json").write_bytes(b" " * 2**21)
    with pytest.raises(BrokenModel, match="too large"):
        read_recipe(tmp_path, BERT)
