"""The engine process of an embedding model, on a tiny encoder, driven over its socket."""

# ruff: noqa: ANN401  a command has many fields
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lattice_actors.engine import frames
from lattice_actors.engine.embedding import Embedder, load_embedder, shortened
from tests.engine.test_worker import Engine
from tests.engine.tiny_bert import WIDTH, WORDS, write_tiny_bert

MODULE = "lattice_actors.engine.embedding_worker"
STEP_TOKENS = 64
CAT = "the cat sat on a mat"
Last = frames.End | frames.Refused | frames.Err


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    return write_tiny_bert(folder, matryoshka_dimensions=[16, 8])


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return load_embedder(model, lambda stage: None)


@pytest.fixture(scope="module")
def shared(model: Path) -> Iterator[Engine]:
    engine = Engine(MODULE)
    engine.load(model, prefill_step_tokens=STEP_TOKENS)
    ready, _ = engine.hear_until(frames.Ready)
    assert (ready.context_tokens, ready.vocab) == (40, 20)
    assert min(ready.resident_bytes, ready.load_s, ready.prefill_tokens_per_s) > 0
    yield engine
    engine.close()


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    yield shared
    shared.tell(frames.Ping(99))
    pong, _ = shared.hear_until(frames.Pong)
    assert (pong.echo, pong.busy_s) == (99, 0.0)  # idle again


def embed(engine: Engine, *inputs: Any, **fields: Any) -> int:
    engine.rid += 1
    engine.tell(frames.Embed(engine.rid, list(inputs), **fields))
    return engine.rid


def answers(engine: Engine, *rids: int) -> dict[int, tuple[Any, Last]]:
    """Return the vectors of each request, and its last report."""
    content = dict.fromkeys(rids, b"")
    last: dict[int, Last] = {}
    while len(last) < len(rids):
        report = engine.hear()
        if isinstance(report, frames.Vectors):
            assert report.rid not in last
            content[report.rid] += report.content
        elif isinstance(report, Last):
            last[report.rid] = report
    return {rid: (np.frombuffer(content[rid], "<f4"), last[rid]) for rid in rids}


def test_vectors_come_in_the_order_of_the_texts_however_they_were_batched(
    engine: Engine, embedder: Embedder
) -> None:
    texts = [" ".join(WORDS[at % 7 : at % 7 + 1 + at % 9]) for at in range(50)]
    ids = [embedder.tokenizer.encode(text).ids for text in texts]

    rids = embed(engine, *texts), embed(engine, CAT), embed(engine, *ids)
    told = answers(engine, *rids)

    expected = np.concatenate([embedder.embed([row]) for row in ids])
    for rid in (rids[0], rids[2]):
        vectors, end = told[rid]
        assert np.abs(vectors.reshape(50, WIDTH) - expected).max() < 1e-5
        assert isinstance(end, frames.End)
        assert (end.reason, end.prompt_tokens) == ("stop", sum(map(len, ids)))
    assert told[rids[1]][0].shape == (WIDTH,)


def test_steps_are_bounded_and_progress_is_told(engine: Engine) -> None:
    rid = embed(engine, *[CAT] * 40)
    steps, progress = [], []
    while not isinstance(report := engine.hear(), frames.End):
        if isinstance(report, frames.Step):
            steps.append(report.prefilled)
        elif isinstance(report, frames.Prompt):
            progress.append((report.rid, report.done, report.total))

    assert max(steps) <= STEP_TOKENS
    assert sum(steps) == 40 * 8
    assert progress[-1] == (rid, 320, 320)
    assert len(progress) == len(steps) >= 5


def test_many_vectors_come_in_several_frames(engine: Engine, embedder: Embedder) -> None:
    rid = embed(engine, *[[2, 3]] * 5000)

    _, before = engine.hear_until(frames.End)

    sizes = [len(each.content) for each in before if isinstance(each, frames.Vectors)]
    assert len(sizes) == 2
    assert max(sizes) < frames.MAX_REPORT_BYTES / 2 + 1
    content = b"".join(each.content for each in before if isinstance(each, frames.Vectors))
    vectors = np.frombuffer(content, "<f4").reshape(5000, WIDTH)
    assert np.abs(vectors - embedder.embed([[2, 3]])).max() < 1e-5
    assert {each.rid for each in before if isinstance(each, frames.Vectors)} == {rid}


def test_shorter_vectors_are_those_of_the_model_at_length_one(
    engine: Engine, embedder: Embedder
) -> None:
    rid = embed(engine, CAT, dimensions=8)

    vectors, _ = answers(engine, rid)[rid]

    whole = embedder.embed([embedder.tokenizer.encode(CAT).ids])
    assert vectors == pytest.approx(shortened(whole, 8)[0], abs=1e-6)


def test_a_text_is_cut_only_on_request_and_keeps_its_last_token(
    engine: Engine, embedder: Embedder
) -> None:
    long = " ".join(WORDS * 4)
    refused, cut = embed(engine, CAT, long), embed(engine, long, [5] * 50, truncate=True)
    told = answers(engine, refused, cut)

    _, refusal = told[refused]
    assert isinstance(refusal, frames.Refused)
    assert (refusal.code, refusal.param) == ("context_length_exceeded", "input[1]")
    assert "66 tokens" in refusal.text
    assert "40" in refusal.text
    row = [*embedder.tokenizer.encode(long).ids[:39], 3]
    expected = np.concatenate([embedder.embed([row]), embedder.embed([[5] * 40])])
    assert np.abs(told[cut][0].reshape(2, WIDTH) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("inputs", "fields", "code", "param"),
    [
        (["a", [2, 20]], {}, "invalid_token", "input[1]"),
        ([[2, -1]], {"listed": False}, "invalid_token", "input"),
        (["the cat sat"], {"context_tokens": 4}, "context_length_exceeded", "input[0]"),
        ([[]], {}, "empty_input", "input[0]"),
        (["a"], {"dimensions": 33}, "invalid_value", "dimensions"),
        (["a"], {"dimensions": 15}, "invalid_value", "dimensions"),
        ([[5] * 40] * 7501, {}, "max_tokens_per_request", "input"),
    ],
)
def test_what_is_wrong_is_refused_and_named(
    engine: Engine, inputs: list[Any], fields: dict[str, Any], code: str, param: str
) -> None:
    rid = embed(engine, *inputs, **fields)

    _, refused = answers(engine, rid)[rid]

    assert isinstance(refused, frames.Refused)
    assert (refused.code, refused.param) == (code, param)
    assert refused.text.startswith(f"{param}: ")


def test_it_generates_nothing(engine: Engine) -> None:
    rid = engine.begin()

    _, refused = engine.answer(rid)

    assert isinstance(refused, frames.Refused)
    assert refused.code == "unsupported_model"


def test_a_cancelled_request_ends_at_once_and_its_neighbour_goes_on(engine: Engine) -> None:
    long, short = embed(engine, *[CAT] * 2000), embed(engine, *[CAT] * 50)
    engine.hear_until(frames.Step)
    engine.tell(frames.Cancel(long))
    engine.tell(frames.Ping(1))

    told = answers(engine, long, short)

    assert told[long][0].size == 0
    assert told[long][1] == frames.End(long, "cancelled", 0, 0)
    assert told[short][0].size == 50 * WIDTH


def test_requests_sent_during_the_load_are_answered_or_cancelled_after_it(model: Path) -> None:
    engine = Engine(MODULE)
    engine.load(model)
    kept, left = embed(engine, CAT), embed(engine, CAT)
    engine.tell(frames.Cancel(left))

    told = answers(engine, kept, left)
    engine.tell(frames.Bye())

    assert told[left][1] == frames.End(left, "cancelled", 0, 0)
    assert told[kept][0].size == WIDTH
    assert engine.exit_code() == 0
    engine.close()


def test_a_broken_directory_is_a_permanent_load_error(tmp_path: Path) -> None:
    engine = Engine(MODULE)
    engine.load(write_tiny_bert(tmp_path / "m", hidden_act="swish"))

    error, _ = engine.hear_until(frames.LoadError)

    assert error.permanent
    assert "activation" in error.text
    assert engine.exit_code() == 0
    engine.close()
