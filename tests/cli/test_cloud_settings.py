"""From settings to the cloud: what is needed, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lattice_actors.remote.spend import Price
from lattice_actors.settings import Settings, SettingsError, SettingsFile, read
from lattice_http.cli.cloud import cloud
from lattice_http.cli.config import show

ENOUGH: dict[str, Any] = {"anthropic_api_key": "sk-ant-k", "anthropic_model": "claude-a"}


def settings(**fields: Any) -> Settings:  # noqa: ANN401 - of Settings
    return Settings(**{**ENOUGH, **fields})


@pytest.mark.parametrize(
    "lacking",
    [
        {"anthropic_api_key": None},
        {"anthropic_model": None},
        {"locality": "local-only"},
        {"model": Path("/one")},
    ],
)
def test_without_what_it_needs_nothing_goes_there(lacking: dict[str, Any]) -> None:
    assert cloud(settings()) is not None
    assert cloud(settings(**lacking)) is None


def test_the_configured_model_comes_first_and_only_listed_ones_have_bare_names() -> None:
    plan = cloud(settings(anthropic_models=("claude-b", "claude-a-big")))

    assert plan is not None
    assert [(entry.id, entry.name) for entry in plan.entries()] == [
        ("anthropic/claude-a", ""),
        ("anthropic/claude-b", "claude-b"),
        ("anthropic/claude-a-big", "claude-a-big"),
    ]
    assert "sk-ant-k" not in repr(plan)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"anthropic_daily_cap_usd": 5.0}, "needs the price of each model"),
        ({"anthropic_spill_over": ("sometimes",)}, "expected overload or context"),
        ({"anthropic_base_url": "http://localhost:5001"}, "is this server itself"),
        ({"anthropic_api_key": "sk\u2014ant"}, "no header can carry"),
        ({"anthropic_models": ("claude-*",)}, "not the name of a model"),
    ],
)
def test_what_cannot_be_is_said_at_the_start(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        cloud(settings(**fields))

    assert "sk" not in str(refused.value)


FILE = """
[anthropic]
model = "claude-a"
daily_cap_usd = 1.5

[anthropic.prices]
"claude-a" = { input = 3, output = 15.0, cached = 0.3 }
"""


def test_the_table_of_the_file_and_the_variables_of_the_predecessor() -> None:
    environ = {
        "HOME": "/home/me",
        "ANTHROPIC_API_KEY": "sk-ant-k",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/v1",
        "ANTHROPIC_VERSION": "2026-01-01",
        "ANTHROPIC_AUTO_ROUTE": "1",
        "BIG_TASK_MIN_WORDS": "5",
    }
    effective = read({}, environ, SettingsFile(Path("/etc/lattice.toml"), FILE))
    plan = cloud(effective.settings)

    assert plan is not None
    assert plan.server.url == "http://127.0.0.1:9"
    assert plan.prices == {"claude-a": Price(3, 15, 0.3)}
    assert plan.cap_micros == 1_500_000
    assert plan.version == "2026-01-01"
    assert effective.settings.big_task_min_words == 5
    assert effective.warnings == ()
    assert "sk-ant-k" not in show(effective, as_json=True)
    assert '"cached": 0.3' in show(effective, as_json=False)


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("3", "must have input and output for m"),
        ("{ input = 3 }", "has no output for m"),
        ("{ input = 3, output = -1 }", "for m: output must be a number"),
        ("{ input = 3, output = 1, cache = 1 }", "has cache for m"),
    ],
)
def test_a_price_that_is_none_is_refused_by_name(price: str, said: str) -> None:
    file = SettingsFile(Path("/etc/lattice.toml"), f"[anthropic.prices]\nm = {price}\n")

    with pytest.raises(SettingsError, match=f"anthropic_prices in .* {said}"):
        read({}, {"HOME": "/"}, file)


def test_prices_are_json_in_a_variable() -> None:
    told = {"HOME": "/", "LATTICE_ANTHROPIC_PRICES": '{"m": {"input": 1, "output": 2}}'}

    assert read({}, told).settings.anthropic_prices == (("m", Price(1, 2)),)
    with pytest.raises(SettingsError, match="JSON"):
        read({}, {**told, "LATTICE_ANTHROPIC_PRICES": "m=1"})
