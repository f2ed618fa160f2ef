from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.roles import BUILT_IN, find_roles, parse_roles
from lattice_actors.capability.words import closeness, contains, has_word, in_order


def test_keys_are_folded_and_comments_are_no_roles() -> None:
    roles = parse_roles('{" Coder ": ["a", " "], "_comment": 5, "fast": "3b"}')

    assert roles == {"coder": ("a",), "fast": ("3b",)}


@given(st.permutations(["Coder", "coder", "CODER", "fast"]))
def test_of_keys_equal_but_case_the_lower_one_stays_in_any_order(keys: list[str]) -> None:
    roles = parse_roles(json.dumps({key: [key] for key in keys}))

    assert roles == {"coder": ("coder",), "fast": ("fast",)}


@pytest.mark.parametrize("text", ["", "[]", "5", '{"a": 5}', '{"a": [1]}', "{", "[" * 100_000])
def test_what_is_no_role_map_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_roles(text)


def test_the_first_usable_source_is_the_whole_map(tmp_path: Path) -> None:
    work, config = tmp_path / "work", tmp_path / "config"
    for folder in (work, config):
        folder.mkdir()
    (config / "lattice_roles.json").write_text('{"from": "config"}')
    (work / "mlx_roles.json").write_text('{"from": "work"}')
    file = tmp_path / "mine.json"
    file.write_text('{"from": "file"}')

    def source(**given: str | Path | None) -> object:
        return find_roles(directories=(work, config), **given).roles  # type: ignore[arg-type]

    assert source(json_text='{"from": "text"}', file=file) == {"from": ("text",)}
    assert source(file=file) == {"from": ("file",)}
    assert source() == {"from": ("work",)}
    (work / "mlx_roles.json").unlink()
    assert source() == {"from": ("config",)}
    (config / "lattice_roles.json").unlink()
    assert source() == BUILT_IN


def test_a_broken_source_is_a_warning_and_the_next_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "lattice_roles.json").write_bytes(b"\xff{")

    found = find_roles("{", tmp_path / "absent.json", (tmp_path,))

    assert found.source == "built in"
    assert len(found.warnings) == 3
    assert found.warnings[0].startswith("MODEL_ROLES_JSON: ")
    assert found.warnings[1].endswith("absent.json: no such file")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("3b", "llama-3.2-3b-instruct"),
        ("3b", "llama_3b"),
        ("7b", "qwen2.5:7b"),
        ("1.7b", "smollm2-1.7b"),
        ("llama-3.3", "llama-3.3-70b"),
        ("qwen2.5", "pub/qwen2.5-7b"),
    ],
)
def test_a_word_is_found(text: str, name: str) -> None:
    assert has_word(text, name)
    assert closeness(text, name) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("3b", "qwen-13b"),
        ("3b", "phi-3bit"),
        ("4b", "llama-70b-4bit"),
        ("7b", "smollm2-1.7b"),
        ("7b", "mixtral-8x7b"),
        ("phi", "dolphin-2"),
        ("vl", "bavlx"),
    ],
)
def test_an_accident_is_no_match(text: str, name: str) -> None:
    assert closeness(text, name) is None


def test_the_closer_a_preference_the_smaller_the_number() -> None:
    names = ["mini", "phi-mini", "minicpm", "gemini-nano"]

    assert [closeness("mini", name) for name in names] == [0, 1, 2, 3]


def test_parts_stand_one_after_the_other() -> None:
    assert in_order(("ab", "b"), "abb")
    assert not in_order(("ab", "b"), "ab")
    assert not in_order((), "ab")


@given(st.text("ab3.-", max_size=6), st.text("ab3.-", max_size=12))
def test_each_kind_of_match_implies_the_weaker_one(text: str, name: str) -> None:
    if has_word(text, name):
        assert contains(text, name)
    if contains(text, name):
        assert text in name
        assert in_order((text,), name)
    if closeness(text, name) is not None:
        assert contains(text, name)


def test_roles_of_the_settings_stand_upon_the_built_in_ones_and_before_files_that_lie_about(
    tmp_path: Path,
) -> None:
    (tmp_path / "lattice_roles.json").write_text('{"from": "work"}')
    table = (("Coder", ("mine",)), ("writer", ("yours",)))

    found = find_roles(directories=(tmp_path,), table=table)

    assert found.roles == {**BUILT_IN, "coder": ("mine",), "writer": ("yours",)}
    assert find_roles('{"a": "b"}', table=table).roles == {"a": ("b",)}
    assert find_roles("{", table=table).warnings
