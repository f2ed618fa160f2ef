"""Tiny models for the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lattice_actors.engine import blas

blas.prepare()  # before anything imports mlx

import mlx_lm  # noqa: E402

from tests.engine.batches import PROMPTS, Loaded, alone  # noqa: E402
from tests.engine.tiny import write_tiny_model  # noqa: E402


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., Path]:
    """Write a tiny model: `make_tiny_model(folder, seed=7, **config_overrides)`.

    Another seed gives another model; tests that break a directory write their own.
    """
    return write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny model directory for the whole session; nobody may change its files."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def loaded(tiny_model: Path) -> Loaded:
    model, tokenizer, *_ = mlx_lm.load(str(tiny_model))
    return Loaded(model, tokenizer, sorted(tokenizer.eos_token_ids))


@pytest.fixture(scope="session")
def solo(loaded: Loaded) -> dict[int, str]:
    """The greedy answer of each prompt, alone in the engine."""
    return {rid: alone(loaded, rid) for rid in PROMPTS}
