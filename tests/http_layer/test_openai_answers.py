"""What clients get, checked by the official SDK's own types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.pagination import SyncPage
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from lattice_actors.catalog.entry import Kind, ModelEntry, Unusable
from lattice_actors.generation import Delta, FinishReason, TokenLogprob, Usage
from lattice_http import sse
from lattice_http.exchange import total_usage
from lattice_http.openai import models
from lattice_http.openai.answers import (
    Whole,
    chat_completion,
    new_chat_id,
    new_completion_id,
    text_completion,
    usage_object,
)
from lattice_http.openai.chat import ChatBody
from lattice_http.openai.chunks import ChunkEncoder, TextChunkEncoder
from lattice_http.openai.embeddings import EmbeddingBody

USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=5)
USAGE_OBJECT = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
ERROR = {"message": "gone", "type": "server_error", "param": None, "code": "model_crashed"}

any_text = st.text(st.characters(exclude_categories=[]))  # lone surrogates too


def payload(frame: bytes) -> dict[str, Any]:
    """Return the JSON of a frame, which has to be exactly one event."""
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n") == 2
    assert b"\r" not in frame
    value: dict[str, Any] = json.loads(frame[6:])
    return value


def chunk(delta: dict[str, Any], reason: str | None = None, **rest: object) -> dict[str, Any]:
    """Return a chunk built the slow way."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl_1",
        "object": "chat.completion.chunk",
        "created": 99,
        "model": "m",
        "choices": [choice],
        **rest,
    }


def readable(text: str) -> str:
    """Return *text* as UTF-8 can carry it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# --- whole answers ------------------------------------------------------------------------------


def test_a_chat_completion_is_one_to_the_sdk() -> None:
    texts = [Whole("Paris", FinishReason.STOP), Whole("Rome", FinishReason.LENGTH)]
    body = chat_completion(new_chat_id(), 99, "m", texts, USAGE)

    answer = ChatCompletion.model_validate(body, strict=True)

    assert answer.choices[0].message.content == "Paris"
    assert answer.choices[0].finish_reason == "stop"
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[1].message.content == "Rome"
    assert answer.usage is not None
    assert answer.usage.model_dump(exclude_none=True) == USAGE_OBJECT
    assert body["id"].removeprefix("chatcmpl_").isalnum()


def test_a_text_completion_has_a_choice_for_each_prompt() -> None:
    texts = [Whole("a", FinishReason.STOP), Whole("b", FinishReason.LENGTH)]

    answer = Completion.model_validate(
        text_completion(new_completion_id(), 99, "m", texts, USAGE), strict=True
    )

    assert [(each.index, each.text, each.finish_reason) for each in answer.choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]
    assert answer.id.startswith("cmpl_")


def test_an_answer_that_was_cut_off_never_looks_whole() -> None:
    body = chat_completion("x", 0, "m", [Whole("Par", FinishReason.CANCELLED)], USAGE)

    assert body["choices"][0]["finish_reason"] == "length"


def test_ids_are_not_used_twice() -> None:
    assert new_chat_id() != new_chat_id()
    assert new_completion_id() != new_completion_id()


def test_usage_of_several_prompts_is_their_sum() -> None:
    assert total_usage({0: USAGE, 1: Usage(1, 2, 0)}) == Usage(8, 5, 5)
    assert usage_object(USAGE) == USAGE_OBJECT


def test_a_prompt_with_several_answers_is_counted_once() -> None:
    again = Usage(7, 2, cached_tokens=6)
    other = Usage(1, 4)

    assert total_usage({1: again, 0: USAGE, 3: other, 2: other}, n=2) == Usage(8, 13, 5)
    assert total_usage({1: again}, n=2) == Usage(7, 2, 6)  # the first has not ended yet


# --- streams ------------------------------------------------------------------------------------


def test_a_chat_stream_from_beginning_to_end() -> None:
    encoder = ChunkEncoder("chatcmpl_1", 99, "m")

    frames = [
        encoder.delta(Delta("Pa")),
        encoder.delta(Delta("ris")),
        encoder.finish(FinishReason.STOP),
    ]

    assert [payload(frame) for frame in frames] == [
        chunk({"role": "assistant", "content": "Pa"}),
        chunk({"content": "ris"}),
        chunk({}, "stop"),
    ]
    for frame in frames:
        ChatCompletionChunk.model_validate_json(frame[6:], strict=True)


def test_each_answer_of_a_chat_stream_has_its_role_once() -> None:
    encoder = ChunkEncoder("chatcmpl_1", 99, "m", choices=3)

    frames = [
        encoder.delta(Delta("a"), 1),
        encoder.delta(Delta("b"), 0),
        encoder.delta(Delta("c"), 1),
        encoder.finish(FinishReason.STOP, 2),
        encoder.finish(FinishReason.LENGTH, 1),
        encoder.error(ERROR, 0),
    ]

    choices = [payload(frame)["choices"][0] for frame in frames]
    assert [(each["index"], each["delta"], each["finish_reason"]) for each in choices] == [
        (1, {"role": "assistant", "content": "a"}, None),
        (0, {"role": "assistant", "content": "b"}, None),
        (1, {"content": "c"}, None),
        (2, {"role": "assistant", "content": ""}, "stop"),
        (1, {}, "length"),
        (0, {}, "error"),
    ]
    for frame in frames[:-1]:
        ChatCompletionChunk.model_validate_json(frame[6:], strict=True)


def test_usage_comes_last_and_is_null_before() -> None:
    encoder = ChunkEncoder("chatcmpl_1", 99, "m", include_usage=True)

    frames = [encoder.delta(Delta("x")), encoder.finish(FinishReason.LENGTH), encoder.usage(USAGE)]

    assert [payload(frame)["usage"] for frame in frames] == [None, None, USAGE_OBJECT]
    last = ChatCompletionChunk.model_validate_json(frames[-1][6:], strict=True)
    assert last.choices == []
    assert payload(frames[1])["choices"][0]["finish_reason"] == "length"


def test_an_empty_answer_still_has_a_role() -> None:
    encoder = ChunkEncoder("chatcmpl_1", 99, "m")

    assert payload(encoder.finish(FinishReason.STOP)) == chunk(
        {"role": "assistant", "content": ""}, "stop"
    )


def test_an_error_in_mid_stream_has_the_ids_of_its_stream() -> None:
    encoder = ChunkEncoder("chatcmpl_1", 99, "m")
    encoder.delta(Delta("x"))

    assert payload(encoder.error(ERROR)) == chunk({}, "error", error=ERROR)


@given(text=any_text, model=any_text, include_usage=st.booleans())
def test_a_fast_chunk_is_the_slow_chunk(text: str, model: str, *, include_usage: bool) -> None:
    encoder = ChunkEncoder("chatcmpl_1", 99, model, include_usage)
    rest: dict[str, Any] = {"usage": None} if include_usage else {}
    content = readable(text)

    first, second = payload(encoder.delta(Delta(text))), payload(encoder.delta(Delta(text)))

    assert first == chunk({"role": "assistant", "content": content}, model=model, **rest)
    assert second == chunk({"content": content}, model=model, **rest)


@given(texts=st.lists(st.tuples(any_text, st.integers(0, 2))))
def test_text_chunks_reach_the_choice_they_are_for(texts: list[tuple[str, int]]) -> None:
    encoder = TextChunkEncoder("cmpl_1", 99, "m", choices=3)

    for text, index in texts:
        frame = encoder.delta(Delta(text), index)

        assert payload(frame) == {
            "id": "cmpl_1",
            "object": "text_completion",
            "created": 99,
            "model": "m",
            "choices": [
                {
                    "text": readable(text),
                    "index": index,
                    "logprobs": None,
                    "finish_reason": None,
                }
            ],
        }


def test_a_text_stream_ends_choice_by_choice() -> None:
    encoder = TextChunkEncoder("cmpl_1", 99, "m", include_usage=True, choices=2)

    frames = [
        encoder.finish(FinishReason.LENGTH, 1),
        encoder.finish(FinishReason.STOP, 0),
        encoder.usage(USAGE),
    ]

    ends = [Completion.model_validate_json(frame[6:], strict=True) for frame in frames]
    assert [(end.choices[0].index, end.choices[0].finish_reason) for end in ends[:2]] == [
        (1, "length"),
        (0, "stop"),
    ]
    assert ends[2].choices == []
    assert payload(frames[2])["usage"] == USAGE_OBJECT
    failed = payload(encoder.error(ERROR, 1))
    assert failed["error"] == ERROR
    assert failed["choices"][0]["finish_reason"] == "error"
    assert failed["choices"][0]["index"] == 1


def test_the_end_of_a_stream() -> None:
    assert sse.DONE == b"data: [DONE]\n\n"


# --- log-probabilities --------------------------------------------------------------------------

EURO = "\u20ac".encode()
TOLD = (
    TokenLogprob(b"a" + EURO[:1], -0.5, ((b"a" + EURO[:1], -0.5), (b"x", -9999.0))),
    TokenLogprob(EURO[1:], -1.5, ((b"y", -0.25), (b"\xff", -1.0), (b"\xfe", -2.0))),
)


def test_a_token_of_a_chat_has_its_bytes_and_its_rivals() -> None:
    whole = Whole("a\u20ac", FinishReason.STOP, TOLD)

    body = chat_completion("x", 0, "m", [whole], USAGE)

    told = ChatCompletion.model_validate(body, strict=True).choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert [each.token for each in told.content] == ["a\ufffd", "\ufffd\ufffd"]
    assert b"".join(bytes(each.bytes or ()) for each in told.content).decode() == "a\u20ac"
    assert [each.logprob for each in told.content] == [-0.5, -1.5]
    assert [(each.token, each.logprob) for each in told.content[0].top_logprobs] == [
        ("a\ufffd", -0.5),
        ("x", -9999.0),
    ]


def test_logprobs_come_in_the_chunk_of_their_tokens() -> None:
    encoder = ChunkEncoder("x", 0, "m", include_usage=True, choices=2)

    frames = [
        encoder.delta(Delta("a", 1, TOLD[:1]), 1),
        encoder.delta(Delta("", 1, TOLD[1:]), 1),
        encoder.delta(Delta("b")),
    ]

    chunks = [ChatCompletionChunk.model_validate_json(frame[6:], strict=True) for frame in frames]
    choices = [chunk.choices[0] for chunk in chunks]
    assert [(each.index, each.delta.role, each.delta.content) for each in choices] == [
        (1, "assistant", "a"),
        (1, None, ""),
        (0, "assistant", "b"),
    ]
    told = [each.logprobs.content if each.logprobs else None for each in choices]
    assert [[entry.logprob for entry in each] if each else None for each in told] == [
        [-0.5],
        [-1.5],
        None,
    ]


def test_a_completion_has_the_old_form_and_offsets_go_on() -> None:
    encoder = TextChunkEncoder("x", 0, "m")
    body = text_completion("x", 0, "m", [Whole("a\u20ac", FinishReason.STOP, TOLD)], USAGE)

    frames = [
        encoder.delta(Delta("", 1, TOLD[:1])),
        encoder.delta(Delta("a\u20ac", 1, TOLD[1:])),
    ]

    whole = Completion.model_validate(body, strict=True).choices[0].logprobs
    parts = [payload(frame)["choices"][0]["logprobs"] for frame in frames]
    assert whole is not None
    assert whole.token_logprobs == [-0.5, -1.5]
    assert whole.text_offset == [0, 2]
    assert whole.top_logprobs == [
        {"a\ufffd": -0.5, "x": -9999.0},
        {"y": -0.25, "\ufffd": -1.0, "\ufffd\ufffd": -1.5},
    ]
    assert [part["text_offset"] for part in parts] == [[0], [2]]
    assert [part["tokens"] for part in parts] == [[token] for token in whole.tokens or ()]


# --- models -------------------------------------------------------------------------------------

ENTRY = ModelEntry("org/m", created=123, context_tokens=2048)


def test_the_model_list_is_one_to_the_sdk() -> None:
    embedder = ModelEntry("e", kind=Kind.EMBEDDING, backend="lmstudio")

    body = models.model_list([ENTRY, embedder], {"org/m": "READY"})

    page = SyncPage[Model].model_validate(body, strict=True)
    assert [(model.id, model.created, model.owned_by) for model in page.data] == [
        ("org/m", 123, "mlx"),
        ("e", 0, "lmstudio"),
    ]
    assert body["data"][0]["kind"] == "chat"
    assert body["data"][0]["context_length"] == 2048
    assert body["data"][0]["state"] == "READY"
    assert "state" not in body["data"][1]
    assert "unusable" not in body


def test_a_model_says_what_can_be_asked_of_it() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(ChatBody)}

    told = models.shown_model(ENTRY)["supported_parameters"]

    assert len(set(told)) == len(told)
    assert set(told) <= names
    assert {"tools", "tool_choice", "reasoning_effort"} < set(told)
    embedder = ModelEntry("e", kind=Kind.EMBEDDING)
    taken = {field.encode_name for field in msgspec.structs.fields(EmbeddingBody)}
    assert set(models.shown_model(embedder)["supported_parameters"]) < taken
    elsewhere = ModelEntry("e", kind=Kind.EMBEDDING, backend="lmstudio")
    assert "supported_parameters" not in models.shown_model(elsewhere)


def test_unusable_directories_are_listed_without_their_paths() -> None:
    body = models.model_list([], unusable=[Unusable("x", Path("/secret/x"), "no weights")])

    assert body["unusable"] == [{"id": "x", "reason": "no weights"}]


@pytest.mark.parametrize(
    ("answer", "status", "ok"),
    [(models.unloaded, 200, True), (models.unload_deferred, 202, True)],
)
def test_delete_says_what_happens(answer: Any, status: int, ok: bool) -> None:  # noqa: ANN401
    code, body = answer("a", ("b",))

    assert code == status
    assert body["ok"] is ok
    assert body["resident"] == ["b"]
    assert (body["unloaded"], body["deferred"]) == (("a", False) if code == 200 else (None, True))


def test_delete_of_what_is_not_loaded_keeps_the_old_keys_beside_the_error() -> None:
    status, body = models.not_loaded("a", ())

    assert status == 404
    assert body["ok"] is False
    assert body["resident"] == []
    assert body["error"]["code"] == "model_not_loaded"
    assert "'a'" in body["error"]["message"]
