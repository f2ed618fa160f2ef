"""The free text of a custom tool, as it is read out of a call's arguments."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lattice_http.responses.free_text import FreeText

texts = st.text(st.one_of(st.sampled_from('"\\/\n\t\x00u0d8eé😀'), st.characters(codec="utf-8")))


def read(pieces: list[str], *, cut: bool = False) -> str:
    reader = FreeText()
    return "".join([*map(reader.read, pieces), reader.rest(cut=cut)])


def cut_up(text: str, places: list[int]) -> list[str]:
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(ends)]


@given(texts, st.booleans(), st.sampled_from([None, 2]), st.lists(st.integers(0, 10**6)))
@example("\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), True, None, [14, 17])
def test_any_text_comes_out_of_any_json_however_it_is_cut(
    text: str, ascii_only: bool, indent: int | None, places: list[int]
) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)

    assert read(cut_up(arguments, places)) == text


@given(texts, st.lists(st.integers(0, 10**6)), st.integers(0, 10**6))
def test_of_arguments_that_end_too_soon_the_beginning_is_told(
    text: str, places: list[int], end: int
) -> None:
    whole = json.dumps({"input": text})
    arguments = whole[: end % len(whole)]

    told = read(cut_up(arguments, places), cut=True)

    assert text.startswith(told)


@given(texts | st.text('{}"input: \\uds', max_size=30), st.lists(st.integers(0, 10**6)))
def test_anything_at_all_is_read_the_same_however_it_is_cut(text: str, places: list[int]) -> None:
    told = read(cut_up(text, places))

    assert told == read([text])
    told.encode()  # nothing that cannot be said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("{}", ""),
        ('{"patch": "x\\n"}', "x\n"),  # under another name
        ('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}'),
        ('{"a": 1, "input": "x"}', "x"),
        ('{"input": 5}', '{"input": 5}'),
        ('"x"', "x"),
        ("[1]", "[1]"),
        ("*** Begin Patch", "*** Begin Patch"),
        ("[" * 100_000, "[" * 100_000),
        ('{"input": "x", "more": 1}', "x"),
        ('{"input": "line\nbreak"}', "line\nbreak"),
        (r'{"input": "\d \user \u12"}', r"\d \user \u12"),
        (r'{"input": "\ud83d \ude00 \ud83d\u0041"}', "\ufffd \ufffd \ufffdA"),
        (r'{"other": "\ud83d"}', "\ufffd"),
        ('{"input"' + " " * 99 + ': "late"}', "late"),
    ],
)
def test_what_models_write_instead(arguments: str, text: str) -> None:
    assert read([arguments]) == text
