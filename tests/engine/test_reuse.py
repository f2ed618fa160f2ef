"""Answers that begin where others left off, on real (tiny) models: same tokens, less reading."""

# ruff: noqa: ANN401  mlx-lm is untyped, and a Gen has many fields
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import mlx.core as mx
import mlx_lm
import pytest
from mlx.utils import tree_map
from mlx_lm.generate import BatchGenerator
from mlx_lm.models import lfm2

from lattice_actors.engine.batch import Batch
from lattice_actors.engine.frames import End, Err, Gen, Prompt
from lattice_actors.engine.last_logits import LastLogits
from lattice_actors.engine.pacing import Pacing
from lattice_actors.engine.prompts import Keeps, Prepared, PromptMaker
from lattice_actors.engine.sampling import Processor
from tests.engine.batches import PROMPTS, Answers, Loaded

MIB = 1024 * 1024
SYSTEM = "the user is a capital of hello world. " * 8
Messages = list[dict[str, str]]


def load(folder: Path) -> Loaded:
    model, tokenizer, *_ = mlx_lm.load(str(folder))
    return Loaded(model, tokenizer, sorted(tokenizer.eos_token_ids))


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Loaded:
    return load(tiny_model)


class Chats:
    """Runs a batch with a prefix cache and keeps what each stream got."""

    def __init__(
        self,
        loaded: Loaded,
        prefix_cache_bytes: int = 64 * MIB,
        step_tokens: int = 512,
        **options: Any,
    ) -> None:
        pacing = Pacing(step_tokens, 0.0, 0.01, 2000.0)
        self.batch = Batch(loaded, pacing, 8, prefix_cache_bytes=prefix_cache_bytes, **options)
        self.maker = PromptMaker(loaded.tokenizer, 1024, 290, self.batch.keeps)
        self.text: dict[int, str] = {}
        self.endings: dict[int, End | Err] = {}
        self.prompts: dict[int, Prompt] = {}  # the newest of each
        self.prefilled = 0
        self.rid = 0

    def add(
        self, messages: Messages | str, processors: Sequence[Processor] = (), **fields: Any
    ) -> int:
        self.rid += 1
        asked = {"text": messages} if isinstance(messages, str) else {"messages": messages}
        fields = {"max_tokens": 12, "temperature": 0.0} | asked | fields
        prepared = self.maker.prepare(Gen(rid=self.rid, **fields))
        assert isinstance(prepared, Prepared), prepared
        self.batch.add(prepared, processors)
        self.text[self.rid] = ""
        return self.rid

    def step(self) -> None:
        outcome = self.batch.step()
        self.prefilled += outcome.prefilled
        self.prompts |= {prompt.rid: prompt for prompt in outcome.prompts}
        for piece in outcome.pieces:
            self.text[piece.rid] += piece.text
        for ending in outcome.endings:
            self.endings[ending.rid] = ending
            if isinstance(ending, End):
                self.text[ending.rid] += ending.text

    def finish(self) -> None:
        while self.batch:
            self.step()
        self.settle()

    def settle(self) -> None:
        """Keep all that streams have left, as an engine does that has nothing else to do."""
        while self.batch.unsettled:
            self.batch.settle_some()

    def say(self, messages: Messages | str, **fields: Any) -> str:
        rid = self.add(messages, **fields)
        self.finish()
        return self.text[rid]

    def cached(self, rid: int | None = None) -> int:
        ending = self.endings[rid or self.rid]
        assert isinstance(ending, End)
        return ending.cached_tokens


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def asking(question: str, system: str = SYSTEM) -> Messages:
    return [turn("system", system), turn("user", question)]


def cold(loaded: Loaded, messages: Messages | str, **fields: Any) -> str:
    return Chats(loaded, prefix_cache_bytes=0).say(messages, **fields)


# --- what is reused ------------------------------------------------------------------------------


def test_a_second_request_reads_only_what_follows_the_shared_system_prompt(
    loaded: Loaded,
) -> None:
    chats = Chats(loaded)
    chats.say(asking("What is a capital?"))
    before = chats.prefilled

    text = chats.say(asking("hello"))

    total = chats.prompts[chats.rid].total
    assert text == cold(loaded, asking("hello"))
    assert chats.cached() > 100
    assert chats.prefilled - before == total - chats.cached()


def test_the_next_turn_of_a_conversation_reads_only_what_is_new(loaded: Loaded) -> None:
    chats = Chats(loaded)
    first = chats.say(asking("What is a capital?"))
    read = chats.prompts[chats.rid].total
    again = [*asking("What is a capital?"), turn("assistant", first), turn("user", "hello")]

    text = chats.say(again)

    assert text == cold(loaded, again)
    assert chats.cached() > read  # of the answer, too


def test_an_exact_repeat_reads_one_token(loaded: Loaded) -> None:
    chats = Chats(loaded)
    first = chats.say(asking("hello"))
    before = chats.prefilled

    assert chats.say(asking("hello")) == first == cold(loaded, asking("hello"))
    assert chats.prefilled - before == 1
    assert chats.cached() == chats.prompts[chats.rid].total - 1


def test_a_sampled_answer_is_the_same_with_a_hit(loaded: Loaded) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "seed": 5, "top_p": 0.9}
    chats = Chats(loaded)
    chats.say(asking("What is a capital?"))

    assert chats.say(asking("hello"), **how) == cold(loaded, asking("hello"), **how)
    assert chats.cached() > 100


def test_raw_text_is_reused_as_well(loaded: Loaded) -> None:
    chats = Chats(loaded)
    chats.say(SYSTEM + "one")

    assert chats.say(SYSTEM + "two") == cold(loaded, SYSTEM + "two")
    assert chats.cached() > 50


def test_processors_see_the_tokens_that_were_not_read(loaded: Loaded) -> None:
    seen: list[list[int]] = []

    def watch(tokens: mx.array, logits: mx.array) -> mx.array:
        seen.append(tokens.tolist())  # type: ignore[arg-type]
        return logits

    chats = Chats(loaded)
    chats.say(asking("hello"))
    rid = chats.add(asking("hello"), [watch], max_tokens=2)
    chats.finish()

    assert len(seen[0]) == chats.prompts[rid].total


def test_the_report_of_a_miss_tells_the_first_token_that_differs(loaded: Loaded) -> None:
    chats = Chats(loaded)
    chats.say(asking("hello", "What is this " * 9))
    nothing = chats.prompts[chats.rid]
    chats.say("Nothing like that, nothing at all")
    chats.say("Nothing else")
    differs = chats.prompts[chats.rid]

    assert (nothing.cached, nothing.differs_at) == (0, 0)
    assert chats.cached() == differs.cached
    assert differs.differs_at >= len("Nothing")


def test_no_report_where_the_cache_is_off(loaded: Loaded) -> None:
    chats = Chats(loaded, prefix_cache_bytes=0)
    chats.say(asking("hello"))
    chats.say(asking("hello"))

    assert chats.prompts[chats.rid].cached is None
    assert chats.cached() == chats.batch.prefix_bytes == 0
    assert chats.maker.keeps is Keeps.NOTHING


# --- caches that cannot be cut back ---------------------------------------------------------------


@pytest.fixture(scope="module")
def sliding(
    make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Loaded:
    """A window of 24 tokens in one layer, all of them in the other."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sliding"
    layers = ["sliding_attention", "full_attention"]
    return load(make_tiny_model(folder, sliding_window=24, layer_types=layers))


@pytest.fixture(scope="module")
def recurrent(loaded: Loaded) -> Loaded:
    """A state of constant size in one layer, attention in the other."""
    mx.random.seed(3)
    args = lfm2.ModelArgs(
        model_type="lfm2",
        vocab_size=290,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        norm_eps=1e-5,
        conv_bias=False,
        conv_L_cache=3,
        block_dim=64,
        block_ff_dim=128,
        block_multiple_of=16,
        block_ffn_dim_multiplier=1.0,
        block_auto_adjust_ff_dim=False,
        full_attn_idxs=[1],
        rope_theta=10000.0,
    )
    model = lfm2.Model(args)
    model.update(tree_map(lambda weight: weight * 3, model.parameters()))
    mx.eval(model.parameters())
    return attrs.evolve(loaded, model=model)


@pytest.fixture(params=["sliding", "recurrent"])
def exact(request: pytest.FixtureRequest) -> Loaded:
    model: Loaded = request.getfixturevalue(request.param)
    return model


@pytest.mark.parametrize("step_tokens", [16, 512])
def test_what_cannot_be_cut_back_gives_the_same_answers(exact: Loaded, step_tokens: int) -> None:
    chats = Chats(exact, step_tokens=step_tokens)
    assert chats.maker.keeps is Keeps.SYSTEM_AND_TURN
    first = asking("What is a capital?")
    answer = chats.say(first, max_tokens=40)
    assert answer == cold(exact, first, max_tokens=40)
    longer = [*first, turn("assistant", answer), turn("user", "hello")]

    hits = []
    for messages in (first, asking("hello"), asking("What is"), longer, longer[:2], longer):
        answer = chats.say(messages, max_tokens=40)
        assert answer == cold(exact, messages, max_tokens=40)
        assert len(set(answer)) > 8  # else it would say little
        hits.append(chats.cached())

    assert min(hits) > 100  # the system prompt at least
    assert hits[0] > hits[1] == hits[2]  # a repeat, up to what asks for the answer
    assert hits[3] >= hits[0]  # a next turn; more where its tokens are those that were generated


def test_what_cannot_be_cut_back_is_read_once_by_those_who_come_together(exact: Loaded) -> None:
    chats = Chats(exact, step_tokens=64)
    questions = ["hello", "What is a capital?", "hello", "world"]
    rids = [chats.add(asking(question)) for question in questions]
    chats.finish()

    for rid, question in zip(rids, questions, strict=True):
        assert chats.text[rid] == cold(exact, asking(question))
    assert chats.prefilled < 2 * chats.prompts[rids[0]].total


def test_prompts_read_whole_in_one_pass_are_answered_as_by_mlx_lm(
    exact: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    beyond_the_window = exact.tokenizer.encode("the user is a " * 12)

    def answers(*rids: int) -> dict[int, str]:
        told = Answers(exact)  # without a prefix cache
        for rid in rids:
            told.add(rid, prompt=beyond_the_window if rid == 3 else None)
        told.finish()
        first_pass.append(told.prefilled[0])
        return told.text

    first_pass = list[int]()
    together = answers(*PROMPTS)
    assert first_pass[0] > len(beyond_the_window)  # all of them
    monkeypatch.setattr(LastLogits, "of", classmethod(lambda cls, model: None))

    assert len(beyond_the_window) > 2 * 24
    assert together == {rid: answers(rid)[rid] for rid in PROMPTS}


def test_the_next_turn_goes_on_from_the_end_of_the_answer(sliding: Loaded) -> None:
    chats = Chats(sliding)
    first = asking("What is a capital?")
    answer = chats.say(first, max_tokens=40)
    longer = [*first, turn("assistant", answer), turn("user", "hello")]

    assert chats.say(longer) == cold(sliding, longer)
    assert chats.cached() == chats.prompts[1].total + 40


def test_a_prompt_that_ends_inside_what_is_kept_is_read_anew(exact: Loaded) -> None:
    chats = Chats(exact)
    chats.say(SYSTEM * 2)

    assert chats.say(SYSTEM) == cold(exact, SYSTEM)
    assert chats.cached() == 0
    assert chats.prompts[chats.rid].differs_at == chats.prompts[chats.rid].total


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_what_a_cancelled_stream_has_read_serves_its_repeat(exact: Loaded, steps: int) -> None:
    chats = Chats(exact, step_tokens=16)
    rid = chats.add(asking("hello"), max_tokens=40)
    for _ in range(steps):
        chats.step()
    assert chats.batch.cancel(rid, time.monotonic()) is not None
    chats.settle()

    assert chats.say(asking("hello")) == cold(exact, asking("hello"))
    assert chats.cached() > 0


# --- who may reuse it ----------------------------------------------------------------------------


def test_another_principal_never_finds_it(loaded: Loaded) -> None:
    chats = Chats(loaded)
    chats.say(asking("hello"), principal="key:one")

    chats.say(asking("hello"), principal="key:two")

    prompt = chats.prompts[chats.rid]
    assert (chats.cached(), prompt.cached, prompt.differs_at) == (0, 0, 0)


def test_another_principal_neither_shares_nor_waits_in_one_batch(loaded: Loaded) -> None:
    chats = Chats(loaded)
    one = chats.add(asking("hello"), principal="key:one")
    two = chats.add(asking("hello"), principal="key:two")
    chats.step()

    assert chats.prompts[one].done == chats.prompts[two].done > 0
    chats.finish()
    assert chats.cached(one) == chats.cached(two) == 0


# --- together in one batch -----------------------------------------------------------------------


@pytest.mark.parametrize("step_tokens", [16, 512])
def test_requests_that_come_together_read_their_common_beginning_once(
    loaded: Loaded, step_tokens: int
) -> None:
    questions = [f"{number} What is the capital?" for number in range(6)]
    chats = Chats(loaded, step_tokens=step_tokens)
    rids = [chats.add(asking(question)) for question in questions]

    chats.finish()

    total = chats.prompts[rids[0]].total
    assert chats.prefilled < total + 5 * 40
    for rid, question in zip(rids, questions, strict=True):
        assert chats.text[rid] == cold(loaded, asking(question))


def test_several_answers_to_one_prompt_read_it_once(loaded: Loaded) -> None:
    chats = Chats(loaded)
    rids = [chats.add(asking("hello")) for _ in range(4)]

    chats.finish()

    assert chats.prefilled == chats.prompts[rids[0]].total + 3
    assert {chats.text[rid] for rid in rids} == {cold(loaded, asking("hello"))}


def test_a_newcomer_reuses_what_a_running_stream_has_read(loaded: Loaded) -> None:
    chats = Chats(loaded)
    first = chats.add(asking("What is a capital?"), max_tokens=60)
    while not chats.text[first]:
        chats.step()
    second = chats.add(asking("hello"))
    chats.finish()

    assert chats.cached(second) > 100
    assert chats.text[first] == cold(loaded, asking("What is a capital?"), max_tokens=60)
    assert chats.text[second] == cold(loaded, asking("hello"))


def test_who_waits_goes_on_when_the_one_that_reads_leaves(loaded: Loaded) -> None:
    chats = Chats(loaded, step_tokens=16)
    first = chats.add(asking("What is a capital?"))
    second = chats.add(asking("hello"))
    chats.step()
    chats.step()

    assert second not in chats.prompts  # it waits
    assert chats.batch.cancel(first, time.monotonic()) is not None
    chats.finish()

    assert chats.text[second] == cold(loaded, asking("hello"))
    assert chats.cached(second) == 32  # what the first one had read


# --- bounds --------------------------------------------------------------------------------------


def test_the_bytes_are_bounded_and_reported(loaded: Loaded) -> None:
    bound = 200 * 2 * 2 * 2 * 16 * 4 * 2  # 400 tokens: layers, heads, keys and values, floats
    chats = Chats(loaded, prefix_cache_bytes=bound)
    most = 0
    for number in range(12):
        chats.say(asking("hello", f"{number} " + SYSTEM), max_tokens=4)
        assert chats.batch.prefix_bytes <= bound
        most = max(most, chats.batch.prefix_bytes)
        assert chats.batch.kv_bytes == chats.batch.prefix_bytes

    assert most > bound / 2
    chats.say(asking("hello", "0 " + SYSTEM), max_tokens=4)
    assert chats.cached() < 16  # it had to go long ago
    chats.say(asking("hello", "11 " + SYSTEM), max_tokens=4)
    assert chats.cached() > 100


def test_what_is_kept_holds_no_more_memory_than_it_says(loaded: Loaded) -> None:
    chats = Chats(loaded)
    chats.say(asking("hello"))  # kernels, buffers
    before = mx.get_active_memory() - chats.batch.prefix_bytes
    for number in range(8):
        chats.add(f"{number} " + SYSTEM * 3, max_tokens=2 + 3 * number)
    chats.finish()

    assert chats.batch.prefix_bytes > 0.5 * MIB
    assert mx.get_active_memory() - chats.batch.prefix_bytes - before < 0.25 * MIB


# --- streams that end badly ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_a_cancelled_stream_leaves_nothing_wrong(loaded: Loaded, steps: int) -> None:
    chats = Chats(loaded, step_tokens=16)
    rid = chats.add(asking("hello"), max_tokens=40)
    for _ in range(steps):
        chats.step()
    assert chats.batch.cancel(rid, time.monotonic()) is not None
    chats.settle()

    assert chats.say(asking("hello")) == cold(loaded, asking("hello"))
    assert chats.cached() == min(16 * steps, chats.prompts[chats.rid].total - 1)


def test_a_failed_stream_leaves_nothing(loaded: Loaded) -> None:
    def fail(tokens: mx.array, logits: mx.array) -> mx.array:
        raise ValueError("no")

    chats = Chats(loaded)
    chats.add(asking("hello"), [fail])
    chats.finish()

    assert isinstance(chats.endings[1], Err)
    assert chats.batch.prefix_bytes == 0


def failing(steps: set[int]) -> Callable[..., BatchGenerator]:
    """A generator whose `next` raises after it has worked, at these steps of the whole test."""
    count = 0

    class Failing(BatchGenerator):
        def next(self) -> Any:
            nonlocal count
            count += 1
            result = super().next()  # type: ignore[no-untyped-call]  # mlx-lm's
            if count in steps:
                raise RuntimeError(f"step {count}")
            return result

    return Failing


@pytest.mark.parametrize("step", range(1, 40, 3))
def test_after_a_failed_step_all_answers_are_right(loaded: Loaded, step: int) -> None:
    chats = Chats(loaded, make_generator=failing({step}))
    chats.say(asking("What is a capital?"))
    rids = [chats.add(asking(question)) for question in ("hello", "world", "hello")]
    chats.finish()
    last = chats.say(asking("hello"))

    assert [chats.text[rid] for rid in rids] == [
        cold(loaded, asking(question)) for question in ("hello", "world", "hello")
    ]
    assert last == cold(loaded, asking("hello"))
    assert chats.cached() > 100  # the cache works again


def test_steps_that_fail_after_a_reuse_switch_it_off(loaded: Loaded) -> None:
    class Picky(BatchGenerator):
        def next(self) -> Any:
            if any(sequence[4] for sequence in self._unprocessed_sequences):
                raise ValueError("cannot go on from there")
            return super().next()  # type: ignore[no-untyped-call]  # mlx-lm's

    chats = Chats(loaded, make_generator=Picky)
    for _ in range(6):
        assert chats.say(asking("hello")) == cold(loaded, asking("hello"))

    assert chats.batch.keeps is Keeps.NOTHING
