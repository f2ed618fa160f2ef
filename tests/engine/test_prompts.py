"""Prompts: template, token ids, context, trimming; and everything that is refused."""

# ruff: noqa: ANN401  mlx-lm's tokenizer is untyped, and a Gen has many fields
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx_lm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.context import trimmings
from lattice_actors.engine.frames import Gen, Refused
from lattice_actors.engine.prompts import Keeps, Prepared, PromptMaker

USER = {"role": "user", "content": "hello"}
CONTEXT = 200
VOCAB = 290


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return mlx_lm.load(str(tiny_model))[1]


@pytest.fixture(scope="module")
def maker(tokenizer: Any) -> PromptMaker:
    return PromptMaker(tokenizer, context_tokens=CONTEXT, vocab=VOCAB)


def gen(**fields: Any) -> Gen:
    return Gen(**({"rid": 1, "max_tokens": 8, "temperature": 0.0} | fields))


def prepared(maker: PromptMaker, **fields: Any) -> Prepared:
    result = maker.prepare(gen(**fields))
    assert isinstance(result, Prepared), result
    return result


def refused(maker: PromptMaker, **fields: Any) -> Refused:
    result = maker.prepare(gen(**fields))
    assert isinstance(result, Refused), result
    return result


def test_messages_go_through_the_template_with_one_begin_token(
    maker: PromptMaker, tokenizer: Any
) -> None:
    tokens = prepared(maker, messages=[USER]).tokens

    assert tokenizer.decode(tokens) == (
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_raw_text_stays_as_it_is(maker: PromptMaker, tokenizer: Any) -> None:
    assert tokenizer.decode(prepared(maker, text="hello world").tokens) == "hello world"


def test_template_options_reach_the_template(maker: PromptMaker, tokenizer: Any) -> None:
    options = {"add_generation_prompt": False}

    tokens = prepared(maker, messages=[USER], template_options=options).tokens

    assert not tokenizer.decode(tokens).endswith("assistant\n")


def test_a_request_cannot_bring_its_own_template(maker: PromptMaker) -> None:
    refusal = refused(maker, messages=[USER], template_options={"chat_template": "{{ 1 }}"})

    assert (refusal.code, refusal.param) == ("invalid_value", "chat_template_kwargs")


def test_no_content_is_empty_content(maker: PromptMaker) -> None:
    nothing = [USER, {"role": "assistant", "content": None}, USER]
    empty = [USER, {"role": "assistant", "content": ""}, USER]

    assert prepared(maker, messages=nothing).tokens == prepared(maker, messages=empty).tokens


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"content": "no role"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": ["a"]}],
        [{"role": None, "content": "a"}],
    ],
)
def test_messages_the_template_does_not_take_are_refused(
    maker: PromptMaker, messages: list[Any]
) -> None:
    refusal = refused(maker, messages=messages)

    assert (refusal.code, refusal.param) == ("invalid_messages", "messages")


def test_the_words_of_a_template_that_refuses_are_passed_on(
    tiny_model: Path, tmp_path: Path
) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(tiny_model, strict)
    names = json.loads((strict / "tokenizer_config.json").read_text())
    names["chat_template"] = "{{ raise_exception('roles must alternate') }}"
    (strict / "tokenizer_config.json").write_text(json.dumps(names))
    maker = PromptMaker(_tokenizer_of(strict), CONTEXT, VOCAB)

    assert "roles must alternate" in refused(maker, messages=[USER]).text


def test_a_model_without_a_template_gets_a_plain_transcript(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    names = json.loads((base / "tokenizer_config.json").read_text())
    del names["chat_template"]
    (base / "tokenizer_config.json").write_text(json.dumps(names))
    tokenizer = _tokenizer_of(base)
    system = {"role": "system", "content": "Be brief."}

    tokens = prepared(PromptMaker(tokenizer, CONTEXT, VOCAB), messages=[system, USER]).tokens

    assert tokenizer.decode(tokens) == "Be brief.\n\nUser: hello\n\nAssistant:"


def _tokenizer_of(folder: Path) -> Any:
    return mlx_lm.utils.load_tokenizer(folder)  # type: ignore[no-untyped-call]  # mlx-lm's


@pytest.mark.parametrize("ids", [[0], [VOCAB - 1, 1]])
def test_ids_of_the_vocabulary_are_taken_as_they_are(maker: PromptMaker, ids: list[int]) -> None:
    assert prepared(maker, tokens=ids).tokens == ids


@pytest.mark.parametrize(
    "bad", [-1, VOCAB, 10**6, 2**40, 1.0, float("nan"), True, "x", "1", None, [], [3], {}]
)
def test_anything_else_among_the_ids_is_refused(maker: PromptMaker, bad: object) -> None:
    refusal = refused(maker, tokens=[1, bad])

    assert (refusal.code, refusal.param) == ("invalid_token", "prompt")
    assert "token 1 " in refusal.text


@pytest.mark.parametrize("token", [-1, 290, 2**31])
def test_a_bias_on_a_token_that_is_not_there_is_refused(maker: PromptMaker, token: int) -> None:
    refusal = refused(maker, text="a", logit_bias={token: 1.0})

    assert (refusal.code, refusal.param) == ("invalid_token", "logit_bias")
    assert "289" in refusal.text


@pytest.mark.parametrize("prompt", [{"tokens": []}, {"text": ""}])
def test_an_empty_prompt_is_refused(maker: PromptMaker, prompt: dict[str, Any]) -> None:
    assert refused(maker, **prompt).code == "empty_prompt"


@pytest.mark.parametrize("prompts", [{}, {"text": "a", "tokens": [1]}])
def test_there_is_exactly_one_kind_of_prompt(maker: PromptMaker, prompts: dict[str, Any]) -> None:
    assert refused(maker, **prompts).code == "invalid_prompt"


def test_text_that_is_no_text_is_refused(maker: PromptMaker) -> None:
    assert refused(maker, text="\ud800").code == "invalid_prompt"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", -1.0),
        ("top_p", 0.0),
        ("top_p", float("nan")),
        ("min_p", 2.0),
        ("repetition_penalty", 0.0),
        ("presence_penalty", float("nan")),
        ("min_p", float("nan")),
        ("top_k", -1),
    ],
)
def test_sampling_values_out_of_range_are_refused_by_name(
    maker: PromptMaker, field: str, value: float
) -> None:
    refusal = refused(maker, text="a", **{field: value})

    assert (refusal.code, refusal.param) == ("invalid_value", field)


def test_no_seed_is_a_seed_of_its_own_each_time(maker: PromptMaker) -> None:
    assert prepared(maker, text="a").seed != prepared(maker, text="a").seed
    assert prepared(maker, text="a", seed=5).seed == 5


# --- fitting the context -------------------------------------------------------------------------


def test_prompt_answer_and_buffer_may_just_fill_the_context(maker: PromptMaker) -> None:
    ids = [5] * (CONTEXT - 8 - 8)

    assert prepared(maker, tokens=ids).tokens == ids
    assert refused(maker, tokens=[*ids, 5]).code == "context_length_exceeded"


def test_the_refusal_has_the_numbers(maker: PromptMaker) -> None:
    text = refused(maker, tokens=[5] * 300, max_tokens=20).text

    assert all(f" {number} " in text for number in (CONTEXT, 300, 20, 8)), text
    assert "328:" in text


def test_a_request_can_narrow_the_context_but_not_widen_it(maker: PromptMaker) -> None:
    ids = [5] * 100

    assert refused(maker, tokens=ids, context_tokens=110).code == "context_length_exceeded"
    assert refused(maker, tokens=ids * 3, context_tokens=10_000).code == "context_length_exceeded"


def test_a_hopeless_text_is_refused_without_being_tokenised(tokenizer: Any) -> None:
    class Untouched:
        def __getattr__(self, name: str) -> Any:
            assert name != "encode"
            return getattr(tokenizer, name)

    refusal = refused(PromptMaker(Untouched(), CONTEXT, VOCAB), text="a" * 10_000_000)

    assert refusal.code == "context_length_exceeded"
    assert "at least" in refusal.text


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"{place} {'x' * 20}"} for place, role in enumerate(roles)]


def test_too_long_a_conversation_is_refused_unless_it_may_be_trimmed(maker: PromptMaker) -> None:
    refusal = refused(maker, messages=turns("system", *["user", "assistant"] * 6, "user"))

    assert (refusal.code, refusal.param) == ("context_length_exceeded", "messages")


def test_trimming_drops_the_fewest_oldest_exchanges(maker: PromptMaker, tokenizer: Any) -> None:
    messages = turns("system", *["user", "assistant"] * 6, "user")

    result = prepared(maker, messages=messages, trim=True)

    text = tokenizer.decode(result.tokens)
    kept = [messages[0], *messages[1 + result.trimmed_messages :]]
    assert result.trimmed_messages % 2 == 0
    assert [f"{m['role']}\n{m['content']}" in text for m in messages] == [
        m in kept for m in messages
    ]
    one_more = [messages[0], *messages[1 + result.trimmed_messages - 2 :]]
    assert refused(maker, messages=one_more).code == "context_length_exceeded"


def test_the_last_user_turn_is_never_trimmed(maker: PromptMaker) -> None:
    messages = [*turns("user", "assistant"), {"role": "user", "content": "y" * 300}]

    assert refused(maker, messages=messages, trim=True).code == "context_length_exceeded"


def test_what_fits_is_not_trimmed(maker: PromptMaker) -> None:
    assert (
        prepared(maker, messages=turns("user", "assistant", "user"), trim=True).trimmed_messages
        == 0
    )


ROLES = st.lists(st.sampled_from(["system", "user", "assistant", "tool", "developer"]), max_size=12)


@given(ROLES)
def test_trimmed_conversations_keep_systems_begin_with_a_user_and_end_alike(
    roles: list[str],
) -> None:
    messages = turns(*roles)

    shorter = trimmings(messages)

    lengths = [len(messages), *map(len, shorter)]
    assert lengths == sorted(set(lengths), reverse=True)
    for kept in shorter:
        assert [m for m in messages if m in kept] == kept
        assert {m["content"] for m in messages if m["role"] in ("system", "developer")} <= {
            m["content"] for m in kept
        }
        assert next(m["role"] for m in kept if m["role"] not in ("system", "developer")) == "user"
        last_user = max(place for place, role in enumerate(roles) if role == "user")
        assert kept[-len(messages[last_user:]) :] == messages[last_user:]


def test_an_answer_whose_length_nobody_asked_for_is_shortened_to_the_context(
    maker: PromptMaker,
) -> None:
    assert refused(maker, messages=[USER], max_tokens=10_000).code == "context_length_exceeded"

    short = prepared(maker, messages=[USER], max_tokens=10_000, shorten=True)

    assert len(short.tokens) + short.gen.max_tokens == CONTEXT - short.gen.trim_buffer


def test_a_shortened_answer_still_needs_room_for_a_token(maker: PromptMaker) -> None:
    long = [{"role": "user", "content": "a " * CONTEXT}]

    refusal = refused(maker, messages=long, max_tokens=8, shorten=True)

    assert refusal.code == "context_length_exceeded"
    assert "1 for the answer" in refusal.text


# --- what the prefix cache is told ----------------------------------------------------------------


def test_the_system_prompt_ends_where_other_conversations_differ(tokenizer: Any) -> None:
    maker = PromptMaker(tokenizer, CONTEXT, VOCAB, Keeps.SYSTEM_AND_TURN)
    system = {"role": "system", "content": "Be kind."}

    one = prepared(maker, messages=[system, USER])
    other = prepared(maker, messages=[system, {"role": "user", "content": "What?"}])

    common = tokenizer.decode(one.tokens[: one.system_tokens])
    assert common == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    assert one.tokens[: one.system_tokens] == other.tokens[: other.system_tokens]
    assert tokenizer.decode(one.tokens[one.turn_tokens :]) == "<|im_start|>assistant\n"


@pytest.mark.parametrize("keeps", Keeps)
def test_only_what_is_wanted_is_looked_for(tokenizer: Any, keeps: Keeps) -> None:
    maker = PromptMaker(tokenizer, CONTEXT, VOCAB, keeps)
    system = {"role": "system", "content": "Be kind."}

    one = prepared(maker, messages=[system, USER])

    assert (one.system_tokens > 0) is (keeps is not Keeps.NOTHING)
    assert (one.turn_tokens > 0) is (keeps is Keeps.SYSTEM_AND_TURN)
    assert prepared(maker, messages=[USER]).system_tokens == 0
    assert prepared(maker, messages=[system]).system_tokens == 0
    assert prepared(maker, text="hello").turn_tokens == 0


# --- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    [
        {"messages": [USER]},
        {"messages": [USER], "template_options": {"add_generation_prompt": False}},
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"text": "hello world"},
        {"tokens": [1, 2, 3]},
    ],
    ids=str,
)
def test_a_count_is_of_the_very_prompt_that_would_be_answered(
    tokenizer: Any, prompt: dict[str, Any]
) -> None:
    maker = PromptMaker(tokenizer, context_tokens=1000, vocab=VOCAB)

    assert prepared(maker, **prompt, count="ids").tokens == prepared(maker, **prompt).tokens


def test_what_is_too_long_to_be_answered_is_counted_all_the_same(maker: PromptMaker) -> None:
    long = {"role": "user", "content": "hello " * CONTEXT}

    for trim in (False, True):
        counted = prepared(maker, messages=[long], trim=trim, count="total")
        assert len(counted.tokens) > CONTEXT
        assert counted.trimmed_messages == 0
    assert prepared(maker, text="", count="total").tokens == []


def test_a_count_compiles_no_grammar(maker: PromptMaker) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

    counted = prepared(maker, messages=[USER], tools=[tool], tool_choice="required", count="total")

    assert counted.gen.grammar is None


def test_a_huge_text_is_not_counted_and_too_many_ids_are_not_listed(
    maker: PromptMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = refused(maker, text="hello " * 1_000_000, count="total")
    assert (huge.code, huge.param) == ("context_length_exceeded", "prompt")

    monkeypatch.setattr("lattice_actors.engine.prompts.MOST_IDS", 1)
    assert refused(maker, text="hello world", count="ids").code == "too_many_tokens"
    assert len(prepared(maker, text="hello world", count="total").tokens) > 1


def test_a_text_may_be_without_what_the_tokenizer_begins_with(
    maker: PromptMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def encode(text: str, special: bool) -> list[int]:
        asked.append(special)
        return [1]

    monkeypatch.setattr(PromptMaker, "_encode", lambda self, text, special: encode(text, special))
    prepared(maker, text="hello", count="ids")
    prepared(maker, text="hello", count="ids", add_special=False)

    assert asked == [True, False]
