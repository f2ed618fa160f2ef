"""Tools and reasoning between a request, a template and a (tiny) model's answer."""

# ruff: noqa: ANN401  mlx-lm's tokenizer is untyped, and a Gen has many fields
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.tokenizer_utils import load as load_tokenizer
from tokenizers import Tokenizer

from lattice_actors.engine import frames
from lattice_actors.engine.call_formats import HERMES
from lattice_actors.engine.call_grammar import closed, grammar_of_calls
from lattice_actors.engine.frames import End, Gen, Refused
from lattice_actors.engine.grammar import Grammars
from lattice_actors.engine.parts import Reading
from lattice_actors.engine.prompts import Prepared, PromptMaker
from lattice_actors.engine.sampling import Processor
from tests.engine.batches import Answers, Loaded
from tests.engine.tiny import write_tiny_model

USER = {"role": "user", "content": "hello"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 6},
                "unit": {"enum": ["C", "F"]},
            },
            "required": ["city", "unit"],
        },
    },
}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
STRICT = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "é"}'}}
CALLED = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
CALLED += [{"role": "tool", "content": "noon", "tool_call_id": "c1"}]
VOCAB = 300

# As Qwen3 has it: tools, calls with their arguments as an object, and a block of thinking.
QWEN = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% for tool_call in message.tool_calls or [] %}{% set tool_call = tool_call.function %}"
    "<tool_call>{{ tool_call.name }} {{ tool_call.arguments.items() | list }}</tool_call>"
    "{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking %}<think>\n{% else %}<think></think>{% endif %}{% endif %}"
)
XML = QWEN + "{# <tool_call>\n<function= #}"
# As DeepSeek has it: it adds the arguments to a text.
JOINING = (
    "{% for message in messages %}{% for call in message.tool_calls or [] %}"
    "{{ 'CALL ' + call.function.name + call.function.arguments }}{% endfor %}"
    "{{ message.content }}{% endfor %}{# <tool_call> tool_call.name #}"
)
MISTRAL = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{% if c.id | length != 9 %}{{ raise_exception('9 letters') }}{% endif %}"
    "[TOOL_CALLS]{{ c.id }}{% endfor %}"
    "{% if m.tool_call_id %}{{ m.tool_call_id }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
)

Make = Callable[..., PromptMaker]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    def make_one(template: str | None = None, *, thinks: bool = False) -> PromptMaker:
        folder = write_tiny_model(tmp_path_factory.mktemp("speech") / "m")
        if thinks:
            file = str(folder / "tokenizer.json")
            tokenizer = Tokenizer.from_file(file)
            tokenizer.add_tokens(["<think>", "</think>"])
            tokenizer.save(file)
        if template is not None:
            config = json.loads((folder / "tokenizer_config.json").read_text())
            config["chat_template"] = template
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return PromptMaker(load_tokenizer(folder), context_tokens=4096, vocab=VOCAB)

    return make_one


def gen(**fields: Any) -> Gen:
    asked: dict[str, Any] = {"rid": 1, "max_tokens": 8, "temperature": 0.0, "messages": [USER]}
    return Gen(**asked | fields)


def prepared(maker: PromptMaker, **fields: Any) -> Prepared:
    result = maker.prepare(gen(**fields))
    assert isinstance(result, Prepared), result
    return result


def prompt(maker: PromptMaker, **fields: Any) -> str:
    text: str = maker.tokenizer.decode(prepared(maker, **fields).tokens)
    return text


# --- a model with tools in its template -----------------------------------------------------------


def test_the_template_gets_the_tools_and_arguments_as_objects(make: Make) -> None:
    maker = make(QWEN)

    text = prompt(maker, messages=CALLED, tools=[NOW])

    assert text.startswith("<tools>{")
    assert "<tool_call>now [('zone', 'é')]</tool_call>" in text
    assert "<tool>noon" in text
    reading = prepared(maker, tools=[NOW]).reading
    assert reading is not None
    assert reading.calls == HERMES


def test_tools_that_may_not_be_called_are_not_told_of(make: Make) -> None:
    maker = make(QWEN)

    result = prepared(maker, tools=[NOW], tool_choice="none")

    assert "<tools>" not in maker.tokenizer.decode(result.tokens)
    assert result.reading is None
    assert result.gen.grammar is None


def test_a_template_that_joins_texts_gets_arguments_as_text(make: Make) -> None:
    assert 'CALL now{"zone": "é"}' in prompt(make(JOINING), messages=CALLED)


def test_ids_are_shortened_where_the_template_insists(make: Make) -> None:
    text = prompt(make(MISTRAL), messages=CALLED)

    _, _, rest = text.partition("[TOOL_CALLS]")
    assert rest[:9] == rest[-9:] != "c1"


def test_a_model_with_another_form_is_told_where_a_grammar_holds_it(make: Make) -> None:
    maker = make(XML)

    free, held = prepared(maker, tools=[WEATHER]), prepared(maker, tools=[STRICT])

    assert free.gen.grammar is None
    assert free.reading is not None
    assert free.reading.calls != HERMES
    assert held.gen.grammar is not None
    assert held.reading is not None
    assert held.reading.calls == HERMES
    assert '"name": "function name"' in maker.tokenizer.decode(held.tokens)


# --- a model that knows no tools ------------------------------------------------------------------


def test_a_model_that_knows_no_tools_is_told_in_the_system_message(make: Make) -> None:
    maker = make()

    alone = prompt(maker, tools=[NOW])
    beside = prompt(maker, tools=[NOW], messages=[{"role": "system", "content": "Be kind."}, USER])

    assert alone.startswith("<|im_start|>system\nYou may call functions")
    assert '{"type": "function", "function": {"name": "now"}}' in alone
    assert "system\nBe kind.\n\nYou may call functions" in beside
    assert "You must call now now." in prompt(
        maker, tools=[NOW], tool_choice="required", tool_name="now"
    )


def test_one_without_system_messages_is_told_by_the_user(make: Make) -> None:
    text = prompt(make(NO_SYSTEM), tools=[NOW])

    assert text.startswith("[user]You may call functions")
    assert text.endswith("\n\nhello")


@pytest.mark.parametrize("tools", [[], [NOW]], ids=["history alone", "with tools"])
def test_calls_and_results_are_text_to_it(make: Make, tools: list[Any]) -> None:
    again = {"role": "tool", "content": "twelve", "tool_call_id": "c2"}

    text = prompt(make(), messages=[*CALLED, again], tools=tools)

    assert text.endswith(
        "<|im_start|>assistant\n<tool_call>\n"
        '{"name": "now", "arguments": {"zone": "é"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nnoon\n</tool_response>\n"
        "<tool_response>\ntwelve\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_description_of_tools_is_kept_for_other_conversations(make: Make) -> None:
    from lattice_actors.engine.prompts import Keeps

    plain = make()
    maker = PromptMaker(plain.tokenizer, 4096, VOCAB, Keeps.SYSTEM)

    result = prepared(maker, tools=[NOW])

    kept = maker.tokenizer.decode(result.tokens[: result.system_tokens])
    assert kept.endswith("</tool_call><|im_end|>\n<|im_start|>user\n")


# --- reasoning ------------------------------------------------------------------------------------


def test_a_prompt_that_opens_the_block_makes_an_answer_that_begins_in_it(make: Make) -> None:
    maker = make(QWEN, thinks=True)

    opened = prepared(maker).reading
    off = prepared(maker, template_options={"enable_thinking": False}).reading

    assert opened == Reading(("<think>", "</think>"), None, thinking=True)
    assert off == Reading(("<think>", "</think>"), None, thinking=False)


def test_a_user_who_writes_the_marker_opens_nothing(make: Make) -> None:
    maker = make("{{ messages[0].content }}<assistant>", thinks=True)

    reading = prepared(maker, messages=[{"role": "user", "content": "<think>"}]).reading

    assert reading is not None
    assert not reading.thinking


def test_a_grammar_waits_for_the_end_of_reasoning(make: Make) -> None:
    maker = make(QWEN, thinks=True)
    grammar = frames.Grammar("regex", "[0-9]+", "guided_regex")

    opened = prepared(maker, grammar=grammar)
    off = prepared(maker, grammar=grammar, template_options={"enable_thinking": False})

    assert opened.free_until == tuple(maker.tokenizer.think_end_tokens or ())
    assert opened.free_until
    assert off.free_until == ()


def test_effort_is_refused_where_nothing_reasons(make: Make) -> None:
    effort = {"reasoning_effort": "low", "enable_thinking": True}

    refusal = make().prepare(gen(template_options=effort))

    assert isinstance(refusal, Refused)
    assert refusal.param == "reasoning_effort"
    assert prepared(make(QWEN, thinks=True), template_options=effort)
    assert prepared(make(), template_options={"reasoning_effort": "none"})


@pytest.mark.parametrize("kind", ["regex", "grammar"])
def test_a_grammar_that_is_no_alternative_to_calls_is_refused(make: Make, kind: str) -> None:
    grammar = frames.Grammar(kind, "x", f"guided_{kind}")

    refusal = make().prepare(gen(tools=[NOW], grammar=grammar))

    assert isinstance(refusal, Refused)
    assert refusal.param == f"guided_{kind}"


# --- answers --------------------------------------------------------------------------------------


class Calls(Answers):
    """Streams whose answers have parts."""

    def ask(self, rid: int, maker: PromptMaker, grammars: Grammars, **fields: Any) -> None:
        asked = {"rid": rid, "max_tokens": 120, "messages": [USER], "seed": rid}
        result = prepared(maker, **asked | fields)
        if result.gen.grammar is not None:
            compiled = grammars.compile(result.gen.grammar)
            result = Prepared(
                result.gen,
                result.tokens,
                result.seed,
                grammar=compiled,
                reading=result.reading,
            )
        self.batch.add(result)

    def say(self, rid: int, text: str, reading: Reading, **fields: Any) -> None:
        """Make the model say *text*."""
        tokens = self.loaded.tokenizer.encode(text)
        begun = len(self.loaded.tokenizer.encode("a"))
        prompt = self.loaded.tokenizer.encode("a")
        plain: dict[str, Any] = {"tokens": prompt, "max_tokens": 400, "temperature": 0.0}
        asked = Gen(rid=rid, **plain | fields)
        script = forced([*tokens, self.loaded.eos_token_ids[0]], begun)
        self.batch.add(Prepared(asked, prompt, seed=0, reading=reading), [script])


def forced(script: list[int], begun: int) -> Processor:
    def force(tokens: mx.array, logits: mx.array) -> mx.array:
        place = min(tokens.shape[0] - begun, len(script) - 1)
        wanted = mx.arange(logits.shape[-1]) == script[place]
        return mx.where(wanted, mx.zeros_like(logits), -float("inf"))

    return force


def end_of(answers: Answers, rid: int) -> End:
    ending = answers.endings[rid]
    assert isinstance(ending, End), ending
    return ending


@pytest.fixture(scope="module")
def grammars(loaded: Loaded) -> Grammars:
    return Grammars(loaded.tokenizer, loaded.eos_token_ids, 290)


def gather(answers: Calls) -> dict[int, tuple[str, list[frames.CallPiece]]]:
    """Run to the end; return reasoning and calls of each stream."""
    gained: dict[int, tuple[str, list[frames.CallPiece]]] = {}
    while answers.batch:
        outcome = answers.batch.step()
        for ending in outcome.endings:
            answers.endings[ending.rid] = ending
        ends = [ending for ending in outcome.endings if isinstance(ending, End)]
        gains: list[frames.Piece | End] = [*outcome.pieces, *ends]
        for said in gains:
            answers.text[said.rid] = answers.text.get(said.rid, "") + said.text
            reasoning, calls = gained.get(said.rid, ("", []))
            gained[said.rid] = (reasoning + said.reasoning, calls + said.calls)
    return gained


TEXT = (
    "<think>it stops</think>So:\n<tool_call>\n"
    '{"name": "now", "arguments": {"zone": "stop here"}}\n</tool_call>'
)
READING = Reading(("<think>", "</think>"), HERMES)


def test_an_answer_is_told_apart_and_stop_strings_are_for_its_text(loaded: Loaded) -> None:
    answers = Calls(loaded)
    answers.say(1, TEXT, READING, stop=["stop"])
    answers.say(2, "<think>stop</think>now stop it", READING, stop=["stop"])

    gained = gather(answers)

    reasoning, calls = gained[1]
    assert (reasoning, answers.text[1]) == ("it stops", "So:")
    assert (calls[0].name, "".join(each.arguments for each in calls)) == (
        "now",
        '{"zone": "stop here"}',
    )
    assert end_of(answers, 1).reason == "tool_calls"
    thought = len(loaded.tokenizer.encode("<think>it stops</think>"))
    assert thought - 9 <= end_of(answers, 1).reasoning_tokens <= thought
    assert (gained[2][0], answers.text[2], end_of(answers, 2).reason) == ("stop", "now ", "stop")


def test_an_answer_cut_off_in_a_call_has_the_arguments_so_far(loaded: Loaded) -> None:
    whole = len(loaded.tokenizer.encode(TEXT))
    answers = Calls(loaded)
    answers.say(1, TEXT, READING, max_tokens=whole - 25)

    _, calls = gather(answers)[1]

    arguments = "".join(each.arguments for each in calls)
    assert '{"zone": "stop here"}'.startswith(arguments)
    assert arguments
    assert end_of(answers, 1).reason == "length"


def test_one_call_ends_the_answer_where_there_may_be_one(loaded: Loaded) -> None:
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    answers = Calls(loaded)
    answers.say(1, call * 2, Reading(None, HERMES, single=True))
    answers.say(2, call * 2, Reading(None, HERMES))

    gained = gather(answers)

    assert [{call.index for call in gained[rid][1]} for rid in (1, 2)] == [{0}, {0, 1}]
    assert end_of(answers, 1).reason == end_of(answers, 2).reason == "tool_calls"


def test_answers_that_have_to_call_do_so_with_valid_arguments(
    loaded: Loaded, grammars: Grammars, make: Make
) -> None:
    maker = make()
    answers = Calls(loaded, max_streams=16)
    for rid in range(1, 9):
        answers.ask(
            rid, maker, grammars, tools=[WEATHER, NOW], tool_choice="required", temperature=1.3
        )
    answers.ask(
        9, maker, grammars, tools=[WEATHER, NOW], tool_choice="required", tool_name="weather"
    )

    gained = gather(answers)

    for rid in range(1, 10):
        _, calls = gained[rid]
        assert end_of(answers, rid).reason == "tool_calls"
        assert not answers.text[rid]
        check(calls)
    assert gained[9][1][0].name == "weather"
    assert {gained[rid][1][0].name for rid in range(1, 9)} == {"weather", "now"}


def check(calls: list[frames.CallPiece]) -> None:
    assert len({call.index for call in calls}) == 1
    arguments = json.loads("".join(call.arguments for call in calls))
    if calls[0].name == "now":
        assert arguments == {}
        return
    assert set(arguments) == {"city", "unit"}
    assert len(arguments["city"]) <= 6
    assert arguments["unit"] in ("C", "F")


def test_a_free_answer_is_held_only_inside_its_calls(loaded: Loaded, grammars: Grammars) -> None:
    """What the model would write after the head is forbidden by the schema."""
    text = grammar_of_calls([STRICT, NOW], must=False, many=False, strict_only=True)
    compiled = grammars.compile(frames.Grammar("calls", text, "tools"))
    said = 'free text, even <tool_cal\n<tool_call>{"name": "weather", "arguments": '
    tokens = loaded.tokenizer.encode(said)

    mask = compiled.mask(0)
    logits = mx.zeros((1, 290))
    for count in range(len(tokens)):
        seen = mx.array(tokens[:count], dtype=mx.int32)
        assert mask(seen, logits)[0, tokens[count]].item() == 0
    left = mask(mx.array(tokens, dtype=mx.int32), logits)[0]

    allowed = [token for token in range(290) if left[token].item() == 0]
    assert {loaded.tokenizer.decode([token]) for token in allowed} <= {"{", '{"'}


def test_a_mask_begins_after_the_tokens_it_waits_for(loaded: Loaded, grammars: Grammars) -> None:
    compiled = grammars.compile(frames.Grammar("regex", "[0-9]", "guided_regex"))
    mask = compiled.mask(2, after=(50, 51))
    logits = mx.zeros((1, 290))

    def free(*tokens: int) -> bool:
        allowed = mask(mx.array([1, 1, *tokens], dtype=mx.int32), logits)
        return bool((allowed == 0).all().item())

    assert free()
    assert free(50)
    assert free(50, 50)
    assert not free(50, 50, 51)
    digit = loaded.tokenizer.encode("7")
    ended = mask(mx.array([1, 1, 50, 50, 51, *digit], dtype=mx.int32), logits)
    assert [i for i in range(290) if ended[0, i].item() == 0] == loaded.eos_token_ids


def test_a_schema_is_closed_only_where_it_lists_all_it_needs() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert closed({"properties": {"b": inner}, "required": ["b"]}) == {
        "properties": {"b": {**inner, "additionalProperties": False}},
        "required": ["b"],
        "additionalProperties": False,
    }
    for left_open in (
        {"type": "object"},
        {"properties": {}, "additionalProperties": True},
        {"properties": {}, "anyOf": [inner]},
        {"properties": {}, "required": ["x"]},
    ):
        assert closed(left_open) == left_open
