"""Answers that keep to a grammar, in the batch of a real (tiny) model."""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

import json
import re
from typing import Any

import mlx.core as mx
import pytest

from lattice_actors.engine import frames
from lattice_actors.engine.frames import End, Err, Gen
from lattice_actors.engine.grammar import GrammarProblem, Grammars
from lattice_actors.engine.prompts import Prepared
from tests.engine.batches import PROMPTS, Answers, Loaded, failing

VOCAB = 290
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["a", "b\u00e9", None]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": False,
}
SCHEMA = ("json_schema", json.dumps(PERSON))
PHONE = ("regex", r"[0-9]{3}-[0-9]{4}")
CHOICE = ("choice", json.dumps(["the capital", 'say "b\u00e9"', "a\nb \\ c"]))
GBNF = ("grammar", 'root ::= "x" | "x" y\ny ::= [0-9]+ "!"')
LARK = ("grammar", 'start: "x" | "x" Y\nY: /[0-9]{1,5}!/')


@pytest.fixture(scope="session")
def grammars(loaded: Loaded) -> Grammars:
    return Grammars(loaded.tokenizer, loaded.eos_token_ids, VOCAB)


class Kept(Answers):
    """Adds streams with a grammar."""

    def __init__(self, loaded: Loaded, grammars: Grammars, **options: Any) -> None:
        super().__init__(loaded, **options)
        self.grammars = grammars

    def keep(self, rid: int, grammar: tuple[str, str], **fields: Any) -> None:
        prompt = self.loaded.tokenizer.encode(PROMPTS[1 + rid % len(PROMPTS)])
        asked = frames.Grammar(*grammar, "response_format")
        gen = Gen(rid=rid, tokens=prompt, **{"max_tokens": 150, "temperature": 0.0} | fields)
        compiled = self.grammars.compile(asked)
        self.batch.add(Prepared(gen, prompt, seed=gen.seed or 0, grammar=compiled))

    def reason(self, rid: int) -> str:
        ending = self.endings[rid]
        assert isinstance(ending, End), ending
        return ending.reason


def check_person(text: str) -> None:
    person = json.loads(text)
    assert set(person) == set(PERSON["required"])
    assert isinstance(person["name"], str)
    assert len(person["name"]) <= 8
    assert type(person["age"]) is int
    assert 0 <= person["age"] <= 120
    assert person["kind"] in ("a", "b\u00e9", None)
    assert len(person["tags"]) <= 3
    assert all(type(tag) is bool for tag in person["tags"])


def test_twenty_answers_keep_to_a_schema_and_their_neighbours_to_theirs(
    loaded: Loaded, grammars: Grammars, solo: dict[int, str]
) -> None:
    answers = Kept(loaded, grammars, max_streams=24)
    answers.add(1)
    answers.step_until_text(1)
    answers.add(2)
    for rid in range(10, 30):
        answers.keep(rid, SCHEMA, temperature=1.2, seed=rid)
    answers.add(3)
    answers.finish()

    assert {rid: answers.text[rid] for rid in (1, 2, 3)} == {rid: solo[rid] for rid in (1, 2, 3)}
    for rid in range(10, 30):
        assert answers.reason(rid) == "stop"
        check_person(answers.text[rid])
    assert len({answers.text[rid] for rid in range(10, 30)}) > 10


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (PHONE, r"[0-9]{3}-[0-9]{4}"),
        (CHOICE, "|".join(map(re.escape, json.loads(CHOICE[1])))),
        (GBNF, r"x([0-9]+!)?"),
        (LARK, r"x([0-9]{1,5}!)?"),
    ],
)
def test_other_kinds_are_kept_to(
    loaded: Loaded,
    grammars: Grammars,
    grammar: tuple[str, str],
    pattern: str,
    temperature: float,
) -> None:
    answers = Kept(loaded, grammars)
    for rid in range(10, 15):
        answers.keep(rid, grammar, temperature=temperature, seed=rid)
    answers.finish()

    for rid in range(10, 15):
        if answers.reason(rid) == "stop":
            assert re.fullmatch(pattern, answers.text[rid])
        else:
            assert grammar == GBNF  # digits without end


def test_any_object_is_one_as_far_as_it_goes(loaded: Loaded, grammars: Grammars) -> None:
    answers = Kept(loaded, grammars)
    for rid in range(10, 16):
        answers.keep(rid, ("json_schema", '{"type":"object"}'), temperature=1.0, seed=rid)
    answers.finish()

    for rid in range(10, 16):
        assert answers.text[rid].lstrip().startswith("{")
        if answers.reason(rid) == "stop":
            assert type(json.loads(answers.text[rid])) is dict


@pytest.mark.parametrize("step", [2, 5, 12])
def test_a_failed_step_changes_nothing(
    loaded: Loaded, grammars: Grammars, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    calm, shaken = Kept(loaded, grammars), Kept(loaded, grammars, make_generator=failing({step}))
    for answers in (calm, shaken):
        answers.keep(10, SCHEMA, temperature=1.2, seed=7)
        answers.keep(11, PHONE)
        answers.finish()

    assert shaken.text == calm.text
    check_person(shaken.text[10])
    assert capsys.readouterr().err


def test_a_bias_allows_nothing_that_the_grammar_forbids(loaded: Loaded, grammars: Grammars) -> None:
    answers = Kept(loaded, grammars)
    letter = loaded.tokenizer.get_vocab()["x"]
    answers.keep(10, PHONE, logit_bias={letter: 100.0, 2: 100.0}, frequency_penalty=2.0, logprobs=1)
    answers.finish()

    assert re.fullmatch(PHONE[1], answers.text[10])


def test_numbers_that_are_none_end_the_stream_alone(
    loaded: Loaded, grammars: Grammars, solo: dict[int, str]
) -> None:
    def forbid(tokens: mx.array, logits: mx.array) -> mx.array:
        return mx.full(logits.shape, float("nan"))

    answers = Kept(loaded, grammars)
    answers.keep(10, PHONE)
    stream = answers.batch._streams[10]
    stream.processors = [forbid]
    answers.add(1)
    answers.finish()

    assert isinstance(answers.endings[10], Err)
    assert answers.text[1] == solo[1]


@pytest.mark.parametrize(
    "grammar",
    [
        ("json_schema", '{"type": "objekt"}'),
        ("json_schema", '{"$ref": "#/nowhere"}'),
        ("json_schema", '{"properties": 5}'),
        ("json_schema", "5"),
        ("regex", "(["),
        ("regex", r"(?=a)b"),
        ("grammar", "start: nowhere"),
        ("grammar", "\x00"),
        ("choice", "[]"),
        ("colour", "red"),
    ],
    ids=str,
)
def test_what_is_no_grammar_is_told_on_one_line(
    grammars: Grammars, grammar: tuple[str, str]
) -> None:
    with pytest.raises(GrammarProblem) as caught:
        grammars.compile(frames.Grammar(*grammar, "guided_regex"))

    assert 0 < len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)


def test_a_grammar_is_compiled_once(grammars: Grammars) -> None:
    asked = frames.Grammar(*PHONE, "guided_regex")

    assert grammars.compile(asked) is grammars.compile(frames.Grammar(*PHONE, "response_format"))
    for number in range(40):
        grammars.compile(frames.Grammar("regex", f"a{{{number + 1}}}", "guided_regex"))
    assert len(grammars._kept) == 32


def test_a_model_without_an_end_keeps_to_no_grammar(loaded: Loaded) -> None:
    with pytest.raises(GrammarProblem, match="end-of-sequence"):
        Grammars(loaded.tokenizer, [], VOCAB).compile(frames.Grammar(*PHONE, "guided_regex"))
