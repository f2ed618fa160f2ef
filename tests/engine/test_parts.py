"""Answers told apart: reasoning, text and calls, wherever their text is cut."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice_actors.engine.call_formats import HERMES, ToolTokenizer, own_format
from lattice_actors.engine.frames import CallPiece
from lattice_actors.engine.parts import AnswerParts, CallFormat, Event, Reading, Reasoning, Said

THINK = ("<think>", "</think>")
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]

# What each of mlx-lm's parsers takes for weather(city="Paris", days=3), as its models write it.
WRITTEN = {
    "json_tools": '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 3}}\n'
    "</tool_call>",
    "mistral": '[TOOL_CALLS]weather[ARGS]{"city": "Paris", "days": 3}',
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
    '<|tool_call_argument_begin|>{"city": "Paris", "days": 3}<|tool_call_end|>'
    "<|tool_calls_section_end|>",
    "qwen3_coder": "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
    "glm47": "<tool_call>weather<arg_key>city</arg_key><arg_value>Paris</arg_value>"
    "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
    "pythonic": '<|tool_call_start|>[weather(city="Paris", days=3)]<|tool_call_end|>',
    "minimax_m2": '<minimax:tool_call>\n<invoke name="weather">\n'
    '<parameter name="city">Paris</parameter>\n<parameter name="days">3</parameter>\n'
    "</invoke>\n</minimax:tool_call>",
    "longcat": "<longcat_tool_call>weather\n<longcat_arg_key>city</longcat_arg_key>\n"
    "<longcat_arg_value>Paris</longcat_arg_value>\n<longcat_arg_key>days</longcat_arg_key>\n"
    "<longcat_arg_value>3</longcat_arg_value>\n</longcat_tool_call>",
    "function_gemma": "<start_function_call>call:weather{city:<escape>Paris<escape>,days:3}"
    "<end_function_call>",
    "gemma4": '<|tool_call>call:weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>',
    "minicpm5": '<function name="weather"><param name="city">Paris</param>'
    '<param name="days">3</param></function>',
    "kimi_k3": '<|open|>tools<|sep|><|open|>call tool="weather" index="1"<|sep|>'
    '<|open|>argument key="city" type="string"<|sep|>Paris<|close|>argument<|sep|>'
    '<|open|>argument key="days" type="integer"<|sep|>3<|close|>argument<|sep|>'
    "<|close|>call<|sep|><|close|>tools<|sep|>",
    "muse_spark": '<atem:function_calls>\n<atem:invoke name="weather">\n'
    '<atem:parameter name="city">Paris</atem:parameter>\n'
    '<atem:parameter name="days">3</atem:parameter>\n</atem:invoke>\n</atem:function_calls>',
}
WRITTEN["laguna"] = WRITTEN["glm47"]


def format_of(kind: str) -> CallFormat:
    module = importlib.import_module(f"mlx_lm.tool_parsers.{kind}")
    tokenizer = SimpleNamespace(
        has_tool_calling=True,
        tool_call_start=module.tool_call_start,
        tool_call_end=module.tool_call_end,
        tool_parser=module.parse_tool_call,
        init_kwargs={"tool_parser_type": kind},
    )
    return own_format(cast("ToolTokenizer", tokenizer), TOOLS)


FORMATS = {kind: format_of(kind) for kind in WRITTEN}


@attrs.frozen
class Read:
    """What came out of an answer, joined."""

    reasoning: str
    text: str
    calls: tuple[tuple[str, str], ...]


def joined(events: Iterable[Event]) -> Read:
    reasoning = text = ""
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for event in events:
        match event:
            case Reasoning():
                assert event.text
                reasoning += event.text
            case Said():
                assert event.text
                text += event.text
            case CallPiece(index=index):
                if index not in names:
                    assert index == len(names)
                    assert event.id
                    assert event.name
                    names[index], arguments[index] = event.name, ""
                else:
                    assert index == len(names) - 1
                    assert not event.id
                    assert not event.name
                arguments[index] += event.arguments
    return Read(reasoning, text, tuple((names[i], arguments[i]) for i in names))


def read(pieces: Sequence[str], reading: Reading, *, cut: bool = False) -> Read:
    counter = itertools.count()
    parts = AnswerParts(reading, lambda: f"call_{next(counter)}")
    events = [event for piece in pieces for event in parts.feed(piece)]
    return joined(events + parts.end(cut=cut))


def check_all_cuts(text: str, reading: Reading, *, cut: bool) -> Read:
    whole = read([text], reading, cut=cut)
    assert read(list(text), reading, cut=cut) == whole
    for at in range(1, len(text)):
        assert read([text[:at], text[at:]], reading, cut=cut) == whole
    return whole


# --- every format ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_call_is_read_in_the_form_of_its_model(kind: str) -> None:
    reading = Reading(THINK, FORMATS[kind])
    text = f"<think>\nhm\n</think>\n\nLet me see.\n{WRITTEN[kind]}"

    result = check_all_cuts(text, reading, cut=False)

    assert (result.reasoning, result.text) == ("hm", "Let me see.")
    [(name, arguments)] = result.calls
    assert name == "weather"
    assert json.loads(arguments) == {"city": "Paris", "days": 3}


@pytest.mark.parametrize("kind", WRITTEN)
def test_an_answer_cut_anywhere_in_a_call_shows_all_that_is_sure(kind: str) -> None:
    written = WRITTEN[kind]
    start = len(FORMATS[kind].start)
    shown = 0
    for length in range(start + 1, len(written)):
        result = read([written[:length]], Reading(None, FORMATS[kind]), cut=True)

        if result.calls:
            assert not result.text
            assert result.calls[0][0] == "weather"
            shown += 1
        else:
            assert result.text == written[:length]
        if FORMATS[kind].end and length < len(written) - len(FORMATS[kind].end):
            for _, arguments in result.calls:
                assert not arguments or arguments.startswith("{")
    assert shown


@pytest.mark.parametrize("kind", ["json_tools", "mistral", "kimi_k2"])
def test_json_arguments_come_as_they_are_written(kind: str) -> None:
    parts = AnswerParts(Reading(None, FORMATS[kind]))

    pieces = [parts.feed(letter) for letter in WRITTEN[kind]]

    calls = [event for events in pieces for event in events if isinstance(event, CallPiece)]
    assert (calls[0].name, calls[0].arguments) == ("weather", "")
    assert len(calls) == 1 + len('{"city": "Paris", "days": 3}')


def test_several_calls_are_numbered() -> None:
    two = '{"name": "now", "arguments": {}}'
    for text in (
        f"<tool_call>{two}</tool_call>\n<tool_call>\n{two}\n</tool_call>",
        f"<tool_call>[{two}, {two}]</tool_call>",
        f"<tool_call>{two}\n{two}</tool_call>",
    ):
        result = check_all_cuts(text, Reading(None, HERMES), cut=False)

        assert result == Read("", "", (("now", "{}"), ("now", "{}")))


@pytest.mark.parametrize(
    "body",
    [
        '{"arguments": {"a": 1}, "name": "now"}',
        '{"name": "now", "arguments": "{\\"a\\": 1}"}',
        '{"name": "now", "parameters": {"a": 1}}',
        '[{"name": "now", "arguments": {"a": 1}}]',
        '{"type": "function", "name": "now", "arguments": {"a": 1}}',
        '{"name": "now", "arguments": {"a": 1}',
    ],
)
def test_other_ways_to_write_a_call_are_understood(body: str) -> None:
    text = f"<tool_call>{body}</tool_call> done"

    result = check_all_cuts(text, Reading(None, HERMES), cut=False)

    assert result == Read("", "done", (("now", '{"a": 1}'),))


# --- what is no call ------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["", "5", "{}", '{"name": 1}', "[]", '{"name": "now"', "[" * 5000])
def test_a_body_that_cannot_be_read_goes_back_to_where_it_stood(body: str) -> None:
    text = f"so:\n\n<tool_call> {body}</tool_call>  and"

    result = read([text], Reading(THINK, HERMES))

    assert result == Read("", text, ())


@given(st.text(st.sampled_from(list("<think/_>tool cal{}\"'\n :1")), max_size=60), st.booleans())
def test_without_markers_all_is_text(text: str, cut: bool) -> None:
    assert read(list(text), Reading(), cut=cut) == Read("", text, ())


def test_markers_of_calls_are_text_where_nobody_asked_for_any() -> None:
    text = WRITTEN["json_tools"]

    assert read([text], Reading(THINK)) == Read("", text, ())


def test_an_end_marker_inside_a_string_ends_nothing() -> None:
    arguments = json.dumps({"code": 'print("</tool_call>") \\ }}'})
    text = f'<tool_call>{{"name": "now", "arguments": {arguments}}}</tool_call>'

    result = check_all_cuts(text, Reading(None, HERMES), cut=False)

    assert result == Read("", "", (("now", arguments),))


# --- reasoning ------------------------------------------------------------------------------------


def test_reasoning_may_have_begun_in_the_prompt_and_need_not_end() -> None:
    opened = Reading(THINK, thinking=True)

    assert check_all_cuts("\na b\n</think>\n\nc", opened, cut=False) == Read("a b", "c", ())
    assert check_all_cuts("a </thin", opened, cut=True) == Read("a </thin", "", ())


def test_a_call_may_end_reasoning_and_a_broken_one_does_not() -> None:
    reading = Reading(THINK, HERMES, thinking=True)

    called = read(["hm <tool_call>" + '{"name": "now"}' + "</tool_call>ok"], reading)
    broken = read(["hm <tool_call>x</tool_call> no</think>ok"], reading)

    assert called == Read("hm", "ok", (("now", "{}"),))
    assert broken == Read("hm <tool_call>x</tool_call> no", "ok", ())


def test_an_answer_with_one_call_is_over_when_its_arguments_are() -> None:
    parts = AnswerParts(Reading(None, HERMES, single=True))

    events = parts.feed('<tool_call>{"name": "now", "arguments": {"a": {}}')

    assert parts.done
    assert joined(events).calls == (("now", '{"a": {}}'),)
    assert parts.feed("} <tool_call>") == parts.end(cut=False) == []


# --- laws -----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just("</tool_call>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
json_objects = st.dictionaries(st.text(max_size=4), json_values, max_size=4)
scraps = st.sampled_from(
    [
        *(
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "\n",
            " ",
            "<",
            "a",
            '"',
            "\\",
            "}",
        ),
        *('{"name": "now", "arguments": ', '{"a": [1, "}"]}', '{"name"', "[", ",", "</tool", "é"),
    ]
)


@given(st.lists(scraps, max_size=12).map("".join), st.booleans(), st.booleans(), st.booleans())
def test_any_text_gives_the_same_wherever_it_is_cut(
    text: str, thinking: bool, single: bool, cut: bool
) -> None:
    check_all_cuts(text, Reading(THINK, HERMES, thinking=thinking, single=single), cut=cut)


@pytest.mark.parametrize("kind", WRITTEN)
@settings(max_examples=20)  # each cuts a text in two at 300 places
@given(data=st.data())
def test_so_it_is_in_every_format(kind: str, data: st.DataObject) -> None:
    written, form = WRITTEN[kind], FORMATS[kind]
    begin = data.draw(st.integers(0, len(written)))
    end = data.draw(st.integers(begin, len(written)))
    damaged = data.draw(st.sampled_from([written, written[:end], written[:begin] + written[end:]]))
    after = data.draw(st.sampled_from(["", " ", "\n" + written, " ok", form.start]))

    check_all_cuts(f"a {damaged}{after}", Reading(THINK, form), cut=data.draw(st.booleans()))


@given(st.lists(json_objects, min_size=1, max_size=3), st.booleans())
def test_all_arguments_arrive(given_arguments: list[dict[str, Any]], ascii_only: bool) -> None:
    written = [json.dumps(each, ensure_ascii=ascii_only) for each in given_arguments]
    text = "\n".join(
        f'<tool_call>\n{{"name": "now", "arguments": {each}}}\n</tool_call>' for each in written
    )

    result = read(list(text), Reading(THINK, HERMES))

    assert result == Read("", "", tuple(("now", each) for each in written))
