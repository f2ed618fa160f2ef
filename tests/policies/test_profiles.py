from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.profiles import Profile, load_profiles, parse_profiles
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.engine import builtin


def profile(entry: ModelEntry, **file: object) -> Profile:
    return parse_profiles(json.dumps(file)).of(entry)


def pattern(substring: str, **values: object) -> dict[str, Any]:
    return {"substring": substring, "profile": values}


def test_an_unknown_model_has_the_built_in_values() -> None:
    assert profile(ModelEntry("x")) == Profile()


def test_later_layers_win_and_null_says_nothing() -> None:
    found = profile(
        ModelEntry("pub/Qwen-7B"),
        defaults={"temperature_default": 0.1, "top_p_default": 0.1, "latency_tier": "slow"},
        patterns=[
            pattern("qwen", temperature_default=0.2, top_p_default=0.2),
            pattern("7b", temperature_default=0.3, latency_tier=None),
        ],
        aliases={"PUB/qwen-7b": {"temperature_default": 0.4}},
    )

    assert (found.temperature_default, found.top_p_default) == (0.4, 0.2)
    assert found.latency_tier == "slow"


def test_a_pattern_is_a_whole_word() -> None:
    found = profile(
        ModelEntry("llama-70b-4bit"),
        patterns=[pattern("70b", latency_tier="slow"), pattern("4b", latency_tier="fast")],
    )

    assert found.latency_tier == "slow"


def test_the_packaged_file_is_no_guess_against_the_weights() -> None:
    profiles = load_profiles()

    guessed = profiles.of(ModelEntry("llama-70b-4bit", backend="lmstudio"))
    measured = profiles.of(ModelEntry("my-7b", weights_bytes=15 * 10**9))

    assert (guessed.latency_tier, guessed.memory_gb_estimate) == ("slow", 40)
    assert measured.memory_gb_estimate == 15


def test_the_builtin_model_is_greedy() -> None:
    found = load_profiles().of(ModelEntry(builtin.MODEL_ID))

    assert found.temperature_default == 0


@given(
    st.none() | st.integers(1, 10**7),
    st.none() | st.integers(1, 10**7),
    st.none() | st.integers(1, 10**6),
    st.none() | st.integers(1, 10**6),
)
def test_a_profile_narrows_and_never_widens(
    own: int | None, said: int | None, default: int | None, ceiling: int | None
) -> None:
    values = {
        "context_window": said,
        "default_max_tokens": default,
        "max_tokens_ceiling": ceiling,
        "supports_vision": True,
    }

    found = profile(ModelEntry("m", context_tokens=own), aliases={"m": values})

    known = [limit for limit in (own, said) if limit is not None]
    assert found.context_window == min(known, default=131_072)
    assert found.default_max_tokens <= found.max_tokens_ceiling <= found.context_window
    assert found.max_tokens_ceiling <= min(ceiling or 16_384, 16_384)
    assert not found.supports_vision  # local MLX reads text only


def test_the_model_knows_a_larger_context_than_the_built_in_guess() -> None:
    assert profile(ModelEntry("m", context_tokens=10**6)).context_window == 10**6


def test_a_remote_model_sees_if_it_says_so_or_its_profile_does() -> None:
    vl = [pattern("vl", supports_vision=True)]
    blind = {"qwen-vl": {"supports_vision": False}}

    def sees(model: ModelEntry, **file: object) -> bool:
        return profile(model, **file).supports_vision

    assert sees(ModelEntry("qwen-vl", backend="studio"), patterns=vl)
    assert sees(ModelEntry("x", backend="studio", has_vision=True))
    assert not sees(ModelEntry("qwen-vl", backend="studio"), patterns=vl, aliases=blind)
    assert not sees(ModelEntry("qwen-vl", has_vision=True), patterns=vl)


def test_settings_are_the_default_and_the_upper_limit() -> None:
    profiles = parse_profiles('{"aliases": {"m": {"max_tokens_ceiling": 9999}}}', 256, 2048)

    assert profiles.of(ModelEntry("m")).max_tokens_ceiling == 2048
    assert profiles.of(ModelEntry("x")).default_max_tokens == 256


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "line 1"),
        ("[" * 100_000, "deep"),
        ("[]", "a profiles file"),
        ('{"patterns": {}}', "patterns"),
        ('{"patterns": [{"substring": " "}]}', r"patterns\[0\].substring"),
        ('{"defaults": {"top_p_default": 1.5}}', "defaults.top_p_default"),
        ('{"defaults": {"context_window": 0}}', "defaults.context_window"),
        ('{"aliases": {"m": {"supports_tools": 1}}}', "aliases.m.supports_tools"),
        ('{"aliases": {"m": {"latency_tier": "quick"}}}', "latency_tier"),
        ('{"aliases": {"m": {"context_window": 1.5}}}', "context_window"),
        ('{"aliases": {"m": 5}}', "aliases.m: expected an object"),
    ],
)
def test_a_wrong_file_names_the_place(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        parse_profiles(text)


def test_a_file_replaces_the_packaged_one(tmp_path: Path) -> None:
    file = tmp_path / "profiles.json"
    file.write_text('{"defaults": {"temperature_default": 0, "_why": "tests", "new_key": 1}}')

    found = load_profiles(file).of(ModelEntry("llama-70b", backend="studio"))

    assert (found.temperature_default, found.latency_tier) == (0, "medium")
