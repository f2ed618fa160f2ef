"""What the terminal is told of the models at start, and which --model is refused."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from lattice_actors.catalog import discovery
from lattice_actors.catalog.entry import ModelEntry, Snapshot, Unusable
from lattice_actors.settings import Settings, SettingsError
from lattice_http.cli import parts
from lattice_http.cli.greeting import greeting


def test_it_names_the_models(tmp_path: Path) -> None:
    assert greeting(Snapshot((ModelEntry("a"), ModelEntry("b"))), tmp_path) == ["models: a, b"]
    assert greeting(Snapshot((ModelEntry("s", builtin=True),)), None) == ["models: s (built in)"]


def test_many_models_are_counted() -> None:
    found = Snapshot(tuple(ModelEntry(f"m{number}") for number in range(10)))

    assert greeting(found, None) == ["models: m0, m1, m2 and 7 more"]


def test_it_says_what_cannot_answer_and_why(tmp_path: Path) -> None:
    found = Snapshot((ModelEntry("a"),), (Unusable("b", tmp_path, "no config.json"),))

    assert greeting(found, None)[1] == (
        "warning: cannot answer: b (no config.json); see GET /v1/models?unusable"
    )


def test_a_root_that_is_not_there_is_said(tmp_path: Path) -> None:
    lines = greeting(Snapshot(), tmp_path / "nowhere")

    assert lines[0] == f"warning: the model root {tmp_path / 'nowhere'} is not a folder"
    assert lines[1].startswith("there is no model yet: ")


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere", "no such folder"), (".", "no config.json")]
)
def test_a_single_model_that_cannot_answer_is_refused(
    tmp_path: Path, name: str, reason: str
) -> None:
    settings = attrs.evolve(Settings(), model=tmp_path / name)
    found = discovery.single(tmp_path / name, settings.display_name)

    with pytest.raises(SettingsError, match=f"^model: .* cannot be served: {reason}$"):
        parts.check_single(settings, found)
