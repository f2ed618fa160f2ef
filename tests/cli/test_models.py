"""Listing, inspecting and tidying models: what is shown, and what is never touched."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.catalog.entry import ModelEntry, Snapshot, Unusable
from lattice_actors.catalog.weights import Tensor
from lattice_bench.echo_model import CONFIG, write_echo_model
from lattice_http.cli.models import facts, here, template
from lattice_http.cli.models.listing import ON_DISK, UNUSABLE, Row, Served, merged
from lattice_http.cli.models.pull import DRAFTS
from lattice_http.cli.models.text import size
from lattice_http.cli.program import main
from tests.cli.stand_in_hub import stand_in

STALE = "b179c9523d0e-0-float32"  # as `builtin.directory` names them, of an older format


@pytest.fixture(autouse=True)
def nobody_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run in an empty directory that is also the home, where no server listens."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LATTICE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LATTICE_PORT", "9")
    monkeypatch.setenv("LATTICE_MODEL_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def root(nobody_home: Path) -> Path:
    """A model that works and one that does not."""
    root = nobody_home / "root"
    write_echo_model(root / "lab" / "Tiny")
    (root / "lab" / "Half").mkdir()
    (root / "lab" / "Half" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return root


def listed(capsys: pytest.CaptureFixture[str], *args: str) -> Any:  # noqa: ANN401 - JSON
    assert main(["models", "--json", *args]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_needs_no_server(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = listed(capsys)
    tiny, half = content["models"]

    assert (tiny["id"], tiny["state"], tiny["context_tokens"]) == ("lab/Tiny", ON_DISK, 8192)
    assert tiny["disk_bytes"] == sum(f.stat().st_size for f in (root / "lab/Tiny").iterdir())
    assert tiny["memory_bytes"] > 256  # weights, answers, kept prompts
    assert (half["id"], half["state"]) == ("lab/Half", UNUSABLE)
    assert half["reason"].startswith("no weights")
    assert content["server"] is None
    assert "no server answers at http://127.0.0.1:9" in content["server_problem"]


def test_the_table_says_the_same(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0

    said = capsys.readouterr().out
    assert "lab/Tiny  on disk  mlx    chat" in said
    assert "lab/Half  23 B     no weights (model*.safetensors)" in said
    assert f"folder: {root}" in said


def test_a_server_that_was_named_and_is_not_there_is_a_failure(root: Path) -> None:
    assert main(["models", "--base-url", "http://127.0.0.1:9"]) == 1
    assert main(["models", "--base-url", "127.0.0.1:9"]) == 2


def test_something_else_at_the_address_is_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand_in() as hub:
        hub.broken_with = 401
        assert "wants a key" in listed(capsys, "--base-url", hub.url)["server_problem"]
        hub.broken_with = 200  # with {}
        assert "no server of this kind" in listed(capsys, "--base-url", hub.url)["server_problem"]
        hub.broken_with = 500
        assert "answers 500" in listed(capsys, "--base-url", hub.url)["server_problem"]


def test_states_are_the_servers_and_its_own_models_are_added() -> None:
    rows = merged(
        [Row("a", ON_DISK, disk_bytes=1), Row("b", ON_DISK), Row("c", UNUSABLE, reason="r")],
        Served(
            "http://x",
            (
                {"id": "a", "state": "ready", "owned_by": "mlx"},
                {"id": "gpu/m", "state": "open", "owned_by": "gpu", "context_length": 7},
                {"id": "c", "state": "cold", "owned_by": "mlx"},
            ),
            ({"id": "d", "reason": "no config.json"}, {"id": "c", "reason": "other"}),
        ),
    )

    assert [(row.id, row.state, row.backend) for row in rows] == [
        ("a", "ready", "mlx"),
        ("b", ON_DISK, "mlx"),
        ("gpu/m", "open", "gpu"),
        ("c", UNUSABLE, "mlx"),
        ("d", UNUSABLE, "mlx"),
    ]
    assert rows[0].disk_bytes == 1
    assert rows[3].reason == "r"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("x/Alpha", "x/Alpha"),
        ("X/ALPHA", "x/Alpha"),
        ("alph", "x/Alpha"),
        ("broken", "x/Broken"),
        ("x/", ["x/Alpha", "x/Beta", "x/Broken"]),
        ("zeta", []),
    ],
)
def test_a_part_of_an_id_is_enough_where_it_means_one(wanted: str, found: str | list[str]) -> None:
    models = (ModelEntry("x/Alpha"), ModelEntry("x/Beta"))
    snapshot = Snapshot(models, (Unusable("x/Broken", Path(), "why"),))

    match = here.find(snapshot, wanted)

    assert (match if isinstance(match, list) else match.id) == found


def test_a_model_is_told_from_its_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "inspect", "tiny", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["architecture"], told["classes"]) == ("llama", ["LlamaForCausalLM"])
    assert (told["parameters"], told["quantisation"]) == (64, "none (F32)")
    assert told["kv_bytes_per_token"] == 2 * 1 * 2 * 4 * 4  # keys and values, heads, size, float32
    assert told["template"] == {"tools": False, "thinking": None, "switches": []}


def test_a_broken_model_says_why_and_is_a_finding(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "inspect", str(root / "lab" / "Half")]) == 1

    said = capsys.readouterr().out
    assert "cannot answer  no weights (model*.safetensors)" in said
    assert "architecture   llama" in said


def test_what_is_not_there_and_what_may_be_meant(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "inspect", "zeta"]) == 1
    assert main(["models", "inspect", "lab/"]) == 1

    said = capsys.readouterr().err.splitlines()
    assert "there is no model 'zeta'" in said[0]
    assert said[1] == "lattice-trio: 'lab/' may be lab/Tiny, lab/Half"


def test_packed_weights_count_as_what_they_are() -> None:
    # A matrix of 128 x 256 in groups of 64: at 4 bits, and one layer at 8.
    tensors = {
        "a.weight": Tensor("U32", (128, 32), 128 * 32 * 4),
        "a.scales": Tensor("F16", (128, 4), 1024),
        "a.biases": Tensor("F16", (128, 4), 1024),
        "b.weight": Tensor("U32", (128, 64), 128 * 64 * 4),
        "b.scales": Tensor("F16", (128, 8), 2048),
        "b.biases": Tensor("F16", (128, 8), 2048),
        "norm.weight": Tensor("F16", (256,), 512),
        "c.biases": Tensor("F16", (3,), 6),
    }
    said = {"group_size": 64, "bits": 4, "b": {"group_size": 32, "bits": 8}}
    config = {**CONFIG, "quantization": said}

    assert facts.parameters(tensors, config) == 2 * 128 * 256 + 256 + 3
    assert facts.quantisation(tensors, config) == "4 bits, groups of 64; 1 layers differ"


QWEN = """{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}
{% generation %}{{ m.content }}{% endgeneration %}{% if loop.last %}{% break %}{% endif %}
{% endfor %}{% if enable_thinking is defined %}<think>{% endif %}"""


@pytest.mark.parametrize(
    ("text", "tokens", "told"),
    [
        (QWEN, ("<think>", "</think>"), (True, ("<think>", "</think>"), ("enable_thinking",))),
        ("{% set tools = 1 %}{{ tools }}", (), (False, None, ())),
        ("{% broken tools", (), (True, None, ())),
        ("{{ reasoning_effort }}", ("<think>",), (False, None, ("reasoning_effort",))),
    ],
)
def test_a_template_tells_what_it_takes(
    text: str, tokens: tuple[str, ...], told: tuple[object, ...]
) -> None:
    found = template.features(text, tokens)

    assert (found.tools, found.thinking, found.switches) == told


@given(st.integers(min_value=0, max_value=10**15))
def test_a_size_is_short_and_right_to_a_twentieth(count: int) -> None:
    number, unit = size(count).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]

    assert len(number) <= 4
    assert abs(float(number) * factor - count) <= max(0.05 * count, 0.5)


# --- clean ---------------------------------------------------------------------------------------


@pytest.fixture
def cache(nobody_home: Path) -> Path:
    """A cache with a stale model, the present one, and folders that are not ours."""
    models = nobody_home / "cache" / "models"
    for key in (STALE, "b179c9523d0e-1-float32", "my-own-model"):
        (models / key / "SmolLM2-135M-Instruct").mkdir(parents=True)
        (models / key / "SmolLM2-135M-Instruct" / "model.safetensors").write_bytes(bytes(1000))
    return models


def test_only_what_nobody_looks_for_goes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "clean", "--dry-run"]) == 0
    assert (cache / STALE).is_dir()
    assert main(["models", "clean", "--yes"]) == 0

    assert "1.0 kB to remove" in capsys.readouterr().out
    assert sorted(path.name for path in cache.iterdir()) == [
        "b179c9523d0e-1-float32",
        "my-own-model",
    ]


def test_without_anybody_to_ask_nothing_goes(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert main(["models", "clean"]) == 1

    assert "nobody is there to be asked, so say --yes" in capsys.readouterr().err
    assert (cache / STALE).is_dir()


def test_all_takes_the_present_one_too_but_no_folder_of_others(cache: Path) -> None:
    assert main(["models", "clean", "--all", "--yes"]) == 0

    assert not list(cache.glob("b179*/SmolLM2-135M-Instruct"))
    assert (cache / "my-own-model" / "SmolLM2-135M-Instruct").is_dir()


def test_what_is_being_made_stays(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (cache / STALE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["models", "clean", "--yes"]) == 0

    assert "(in use: it stays)" in capsys.readouterr().out
    assert (cache / STALE).is_dir()


def test_unfinished_pulls_go_only_when_asked_for(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = root / DRAFTS / "some-one--Tiny"
    draft.mkdir(parents=True)
    (draft / "model.safetensors.ab.part").write_bytes(bytes(2000))

    assert main(["models", "clean", "--yes"]) == 0
    assert draft.is_dir()
    assert main(["models", "clean", "--incomplete", "--yes"]) == 0

    assert "an unfinished pull of some-one/Tiny" in capsys.readouterr().out
    assert not (root / DRAFTS).exists()
    assert (root / "lab" / "Tiny").is_dir()
