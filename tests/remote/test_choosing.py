"""A choice at servers that know no `guided_choice`: how they are asked, and what is believed."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.generation import (
    CallPiece,
    Chat,
    Delta,
    Finish,
    FinishReason,
    Grammar,
    Job,
    Text,
    Tokens,
    ToolUse,
)
from lattice_actors.remote import gbnf
from lattice_actors.remote.asking import request_of
from lattice_actors.remote.choice_reader import ChoiceReader
from lattice_actors.remote.choosing import AROUND_TOKENS, Choosing, Form, choosing_of
from lattice_actors.remote.faults import Blame, WireFault
from lattice_actors.remote.openai_wire import AnswerReader
from tests.remote.fault_server import event, last, piece

HELLO = Chat(({"role": "user", "content": "hello"},))
TOOL = {"type": "function", "function": {"name": "f"}}
WITH_TOOLS = Chat(HELLO.messages, tools=(TOOL,))
HARD = ('a"b\\c', "\u00e9 \U0001f600\U0001f601", "no, never", "no", "line\nline\ttab\x7f", "/</")

texts = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8)


def job(*choices: str, **fields: Any) -> Job:  # noqa: ANN401 - of Job
    prompt = fields.pop("prompt", HELLO)
    grammar = Grammar("choice", json.dumps(choices or ("yes", "no")), "guided_choice")
    return Job(prompt, fields.pop("max_tokens", 9), grammar=grammar, **fields)


def asked(what: Job, kind: str = "openai") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request_of(what, "m", kind)[1])
    return body


def read(choosing: Choosing, *parts: bytes) -> list[Delta | Finish]:
    reader = ChoiceReader(AnswerReader("gpu", streamed=True), choosing)
    pieces = [piece for part in parts for piece in reader.feed(part)]
    return pieces + reader.end()


def said(choosing: Choosing, written: str, reason: str = "stop") -> tuple[str, Finish]:
    """Return the text and the end of an answer that came in three pieces."""
    third = len(written) // 3
    parts = (written[:third], written[third : 2 * third], written[2 * third :])
    *deltas, finish = read(choosing, *map(piece, filter(None, parts)), last(reason))
    assert isinstance(finish, Finish)
    assert all(isinstance(delta, Delta) for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), finish


def wrapped(text: str, *, escaped: bool = True) -> str:
    return json.dumps({"choice": text}, ensure_ascii=escaped)


def refused(choosing: Choosing, *parts: bytes) -> None:
    with pytest.raises(WireFault) as failure:
        read(choosing, *parts)
    fault = failure.value.fault
    assert (fault.blame, fault.code) == (Blame.UNABLE, "upstream_bad_answer")
    assert choosing.field in fault.message


# --- how they are asked -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["openai", "lmstudio"])
def test_a_schema_asks_for_it_and_counts_what_is_around_the_text(kind: str) -> None:
    body = asked(job("yes", "no", "yes", max_tokens=1, stop=("o",)), kind)

    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["type"] == "object"  # OpenAI takes no other
    assert schema["properties"]["choice"] == {"type": "string", "enum": ["yes", "no"]}
    assert schema["required"] == ["choice"]
    assert body["max_tokens"] == 1 + AROUND_TOKENS + len('""')
    assert not {"stop", "guided_choice", "grammar"} & body.keys()
    assert asked(job(max_tokens=500), kind)["max_tokens"] == 500


def test_vllm_is_asked_in_its_old_words_and_in_its_new_ones() -> None:
    body = asked(job(stop=("o",)), "vllm")

    assert body["guided_choice"] == body["structured_outputs"]["choice"] == ["yes", "no"]
    assert (body["stop"], body["max_tokens"]) == (["o"], 9)
    for name in ("regex", "grammar"):
        other = Job(HELLO, 9, grammar=Grammar(name, "a+", f"guided_{name}"))
        body = asked(other, "vllm")
        assert body[f"guided_{name}"] == body["structured_outputs"][name] == "a+"


def test_llama_cpp_python_is_asked_with_a_grammar_for_any_prompt() -> None:
    assert asked(job(), "alone")["grammar"] == 'root ::= "no" | "yes"\n'
    assert asked(job(prompt=Text("a")), "alone")["grammar"]
    assert "response_format" not in asked(job(), "alone")


def test_a_lattice_is_asked_as_we_are_and_believed() -> None:
    assert asked(job(logprobs=3), "lattice")["guided_choice"] == ["yes", "no"]
    assert choosing_of(job(), "lattice") is None


@pytest.mark.parametrize("kind", ["openai", "vllm", "alone"])
def test_an_answer_that_has_to_call_has_no_text_to_choose(kind: str) -> None:
    what = job(prompt=WITH_TOOLS, tool_use=ToolUse("required"))

    assert choosing_of(what, kind) is None
    assert not {"response_format", "guided_choice", "grammar"} & asked(what, kind).keys()


@pytest.mark.parametrize(
    ("what", "kind", "param"),
    [
        (job(logprobs=0), "openai", "logprobs"),
        (job(prompt=Tokens((1, 2))), "lmstudio", "guided_choice"),
        (job("a\0b"), "alone", "guided_choice"),
        (job(prompt=WITH_TOOLS), "alone", "guided_choice"),
        (Job(HELLO, 9, grammar=Grammar("regex", "a", "guided_regex")), "alone", "guided_regex"),
        (
            Job(HELLO, 9, grammar=Grammar("grammar", "root ::= x", "guided_grammar")),
            "alone",
            "guided_grammar",
        ),
    ],
)
def test_what_a_server_cannot_do_is_refused_by_name(what: Job, kind: str, param: str) -> None:
    with pytest.raises(BadRequest) as failure:
        request_of(what, "m", kind)

    assert failure.value.param == param


# --- what is believed -------------------------------------------------------------------------


def choosing(*choices: str, form: Form = "schema", stop: tuple[str, ...] = ()) -> Choosing:
    return Choosing(choices or ("yes", "no"), form, stop)


@given(st.sampled_from(HARD), st.booleans(), st.lists(st.integers(0, 999), max_size=6))
def test_the_bare_text_comes_out_wherever_the_bytes_are_cut(
    text: str,
    escaped: bool,
    cuts: list[int],
) -> None:
    """Also inside of escapes, of characters and of halves of them."""
    written = " \n" + wrapped(text, escaped=escaped)
    bytes_ = b"".join(map(piece, written)) + last()
    edges = [0, *sorted(cut * len(bytes_) // 999 for cut in cuts), len(bytes_)]

    *deltas, finish = read(choosing(*HARD), *(bytes_[a:b] for a, b in pairwise(edges)))

    assert deltas == [Delta(text, tokens=len(written))]
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.STOP
    assert finish.usage.prompt_tokens == 7


@given(texts, st.text(max_size=30), st.sampled_from(["schema", "own", "grammar"]))
def test_what_is_none_of_the_choices_is_never_handed_out(
    choices: list[str], other: str, form: Form
) -> None:
    for written in (other, json.dumps(other), wrapped(other)):
        right = choosing(*choices, form=form)
        expected = {wrapped(text) for text in choices} if form == "schema" else set(choices)
        if written in expected:
            assert said(right, written)[0] in choices
        else:
            refused(right, *filter(None, (written and piece(written), last())))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "written",
    [
        "The capital of France is Paris.",
        '"yes"',
        '{"choice": "yes", "why": "so"}',
        '{"choice": ["yes"]}',
        '{"choice": "yes"} and more',
        '{"choice": "yes',  # it said that it was over
        "",
        "yes",  # right by chance: the next one will not be
    ],
)
def test_a_server_that_leaves_the_schema_unread_is_found_out(written: str) -> None:
    parts = [piece(written)] if written else []

    refused(choosing(), *parts, last())


def test_it_is_found_out_before_it_has_said_all() -> None:
    """So that it need not be waited for, and somebody else can be asked."""
    reader = ChoiceReader(AnswerReader("gpu", streamed=True), choosing())
    assert reader.feed(piece("\n")) == []
    with pytest.raises(WireFault):
        reader.feed(piece("The"))

    endless = ChoiceReader(AnswerReader("gpu", streamed=True), choosing(form="own"))
    assert endless.feed(piece("y" * 1000)) == []
    with pytest.raises(WireFault):
        endless.feed(piece("y" * 1000))


@given(st.sampled_from(HARD), st.integers(0, 60), st.booleans())
def test_what_max_tokens_cut_off_is_the_beginning_of_a_choice(
    text: str,
    at: int,
    escaped: bool,
) -> None:
    written = wrapped(text, escaped=escaped)
    got, finish = said(choosing(*HARD), written[:at], "length")

    assert text.startswith(got)
    whole = at >= len(written) - 1  # only the bracket is missing
    assert finish.reason is (FinishReason.STOP if whole else FinishReason.LENGTH)
    assert got == text or not whole


@pytest.mark.parametrize(
    "written", ["{}", '{"choice": 1', '{"choice": "maybe', '{"choice": "\\q', '{"choice": "yes",']
)
def test_what_was_cut_off_and_begins_no_choice_is_refused(written: str) -> None:
    refused(choosing(), piece(written), last("length"))


@pytest.mark.parametrize("form", ["own", "grammar"])
def test_a_text_that_is_not_wrapped_keeps_its_pieces_logprobs_and_end(form: Form) -> None:
    logprobs = {"content": [{"token": "no", "logprob": -0.5, "top_logprobs": []}]}
    first = {"index": 0, "delta": {"content": "no"}, "logprobs": logprobs}
    right = choosing("no, never", "yes", form=form)

    delta, finish = read(right, event({"choices": [first]}), piece(", never"), last())

    assert isinstance(delta, Delta)
    assert (delta.text, delta.tokens, len(delta.logprobs)) == ("no, never", 2, 1)
    assert isinstance(finish, Finish)
    assert said(right, "no,", "length")[1].reason is FinishReason.LENGTH
    refused(right, piece("no,"), last())
    refused(right, piece("nor"), last("length"))


def test_stop_strings_are_those_of_the_text_not_of_the_json_around_it() -> None:
    """As for a model of this machine: the first that is whole ends the answer."""
    right = choosing("no, never", "a:b", stop=(", n", ",", ":"))

    text, finish = said(right, wrapped("no, never"))

    assert (text, finish.stop, finish.reason) == ("no", ",", FinishReason.STOP)
    assert said(right, wrapped("a:b"), "length")[0] == "a"
    own = choosing("no, never", form="own", stop=(",",))
    assert said(own, "no")[0] == "no"  # its server has stopped there


def test_reasoning_and_calls_are_not_held() -> None:
    reader = ChoiceReader(AnswerReader("gpu", streamed=True), choosing())
    thinking = {"reasoning_content": "hm", "content": '{"choice":'}
    assert reader.feed(event({"choices": [{"index": 0, "delta": thinking}]})) == [
        Delta("", 0, (), "hm")
    ]
    assert reader.feed(piece(' "no"}') + last())[0] == Delta("no", 2)

    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    called = event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    delta, finish = read(choosing(), piece("\n\n"), called, last("tool_calls"))
    assert isinstance(delta, Delta)
    assert delta.calls == (CallPiece(0, "c", "f", "{}"),)
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.TOOL_CALLS


# --- the grammar ------------------------------------------------------------------------------

_ALTERNATIVE = re.compile(r'"((?:[^"\\]|\\x[0-9A-F]{2}|\\U[0-9A-F]{8})*)"(?: (r\d+))?')


def language(grammar: str) -> list[str]:
    """Return all that a grammar of ours allows, by the rules of GBNF."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def characters(literal: str) -> str:
        number = r"\\(?:x(..)|U(.{8}))"
        return re.sub(number, lambda found: chr(int(found[1] or found[2], 16)), literal)

    found: list[str] = []
    todo = [("", "root")]
    while todo:
        begun, rule = todo.pop()
        alternatives = list(_ALTERNATIVE.finditer(rules[rule]))
        assert " | ".join(each[0] for each in alternatives) == rules[rule]
        for each in alternatives:
            text = begun + characters(each[1])
            if each[2]:
                todo.append((text, each[2]))
            else:
                found.append(text)
    return found


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6), min_size=1, max_size=12))
def test_the_grammar_allows_the_texts_each_once_and_nothing_else(some: list[str]) -> None:
    grammar = gbnf.one_of(some)

    assert sorted(language(grammar)) == sorted(set(some))
    assert grammar.isascii()


def test_what_texts_begin_with_is_said_once() -> None:
    nested = ["a" * count for count in range(1, 1001)]

    assert (
        gbnf.one_of(["ab", "abc", "abd", "x"]) == 'root ::= "ab" r1 | "x"\nr1 ::= "" | "c" | "d"\n'
    )
    assert sorted(language(gbnf.one_of(nested))) == nested
