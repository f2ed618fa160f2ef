"""From the bytes of an OpenAI-compatible server to our pieces, and from a job to its request."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.generation import (
    Chat,
    Delta,
    Finish,
    FinishReason,
    Grammar,
    Job,
    Sampling,
    Tokens,
    ToolUse,
)
from lattice_actors.remote.asking import request_of
from lattice_actors.remote.faults import WireFault
from lattice_actors.remote.openai_wire import AnswerReader
from lattice_actors.remote.sse import MAX_EVENT_BYTES, EventReader, EventTooLong


def chunk(delta: dict[str, Any] | None, reason: str | None = None, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return b"data: " + json.dumps({"choices": choices, **more}, ensure_ascii=False).encode()


CALL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
STREAM = b"\r\n\r\n".join(
    [
        b"\xef\xbb\xbf: hello",
        b"event: message\nid: 7\n" + chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm \u00e9\U0001f600"}),
        chunk({"reasoning": "so"}),
        chunk({"content": "one\n\ntwo"}),
        chunk({"tool_calls": [CALL]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        chunk({}, "tool_calls"),
        chunk(
            None,
            usage={
                "prompt_tokens": 11,
                "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        ),
        b"data: [DONE]",
        b"",
    ]
)


def read(*parts: bytes, streamed: bool = True) -> list[Delta | Finish]:
    reader = AnswerReader("gpu", streamed, prompt_tokens=5)
    pieces = [piece for part in parts for piece in reader.feed(part)]
    return pieces + reader.end()


WHOLE = read(STREAM)


def test_the_last_word_alone_is_no_end() -> None:
    """llama-cpp-python ends so when another request interrupts the answer."""
    with pytest.raises(WireFault) as failure:
        read(chunk({"content": "Once"}), b"\n\ndata: [DONE]\n\n")

    assert failure.value.fault.code == "upstream_cut_off"


def test_a_stream_is_read() -> None:
    *pieces, finish = WHOLE

    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.TOOL_CALLS
    assert finish.usage.prompt_tokens == 11
    assert finish.usage.completion_tokens == 9
    assert finish.usage.cached_tokens == 4
    assert finish.usage.reasoning_tokens == 2
    deltas = [piece for piece in pieces if isinstance(piece, Delta)]
    assert "".join(each.reasoning for each in deltas) == "hm \u00e9\U0001f600so"
    assert "".join(each.text for each in deltas) == "one\n\ntwo"
    calls = [call for each in deltas for call in each.calls]
    assert (calls[0].index, calls[0].id, calls[0].name) == (0, "c1", "f")
    assert "".join(call.arguments for call in calls) == '{"a":1}'


def test_it_does_not_matter_where_the_bytes_are_cut() -> None:
    for at in range(len(STREAM) + 1):
        assert read(STREAM[:at], STREAM[at:]) == WHOLE, at


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_nor_into_how_many_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]

    assert read(*(STREAM[a:b] for a, b in pairwise(edges))) == WHOLE


def test_what_was_cut_off_is_never_a_whole_answer() -> None:
    """Wherever the bytes end before the finish reason was said, that is a failure."""
    reason = b'"finish_reason": "tool_calls"}]}'
    said_at = STREAM.index(reason) + len(reason)
    for at in range(said_at):
        with pytest.raises(WireFault) as failure:
            read(STREAM[:at])
        assert failure.value.fault.code in ("upstream_cut_off", "upstream_bad_answer")
    assert isinstance(read(STREAM[:said_at])[-1], Finish)


@given(st.binary(max_size=300))
def test_garbage_is_a_fault_or_nothing_and_never_something_else(data: bytes) -> None:
    for streamed in (True, False):
        with pytest.raises(WireFault):
            read(data, streamed=streamed)


@given(st.text(st.sampled_from('{}[]":, \n\rdata01ntue\\'), max_size=80))
def test_nearly_right_is_a_fault_too(text: str) -> None:
    reader = AnswerReader("gpu", streamed=True)
    with suppress(WireFault):
        pieces = reader.feed(b"data: " + text.encode() + b"\n\n")
        assert all(isinstance(piece, Delta | Finish) for piece in pieces)


def feed_until_refused(reader: EventReader, part: bytes) -> None:
    for _ in range(MAX_EVENT_BYTES // 1000 - 2):
        assert reader.feed(part) == []
    with pytest.raises(EventTooLong):
        reader.feed(part * 3)


def test_an_endless_line_is_given_up_in_bounded_memory() -> None:
    reader = EventReader()
    feed_until_refused(reader, b"x" * 1000)


def test_an_event_of_many_lines_is_bounded_as_well() -> None:
    reader = EventReader()
    feed_until_refused(reader, b"data: " + b"x" * 1000 + b"\n")


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_events_come_back_as_they_were_sent(texts: list[str]) -> None:
    for end in (b"\n", b"\r", b"\r\n"):
        sent = b"".join(b"data: " + text.encode() + end + end for text in texts)
        whole = EventReader()
        events = [*whole.feed(sent), *whole.end()]
        by_byte = EventReader()
        one_by_one = [event for byte in sent for event in by_byte.feed(bytes([byte]))]

        assert events == one_by_one + by_byte.end() == [text.encode() for text in texts]


def test_a_whole_answer_is_read_as_well() -> None:
    message = {"role": "assistant", "content": "hi", "reasoning_content": "h"}
    body = {
        "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    piece, finish = read(json.dumps(body).encode(), streamed=False)

    assert isinstance(piece, Delta)
    assert isinstance(finish, Finish)
    assert (piece.text, piece.reasoning) == ("hi", "h")
    assert finish.reason is FinishReason.LENGTH


def test_an_end_without_done_is_one_when_a_reason_was_given() -> None:
    *_, finish = read(chunk({"content": "a"}) + b"\n\n", chunk({}, "stop"))

    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.STOP
    assert finish.usage.completion_tokens == 1  # counted
    assert finish.usage.prompt_tokens == 5  # the estimate


def test_a_stop_after_tool_calls_means_tool_calls() -> None:
    whole = {"id": "x", "function": {"name": "f", "arguments": {"a": 1}}}
    piece, finish = read(chunk({"tool_calls": [whole]}, "stop"))

    assert isinstance(piece, Delta)
    assert isinstance(finish, Finish)
    assert piece.calls[0].arguments == '{"a":1}'
    assert finish.reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("error", [{"message": "no memory"}, "no memory", ["no memory"]])
def test_an_error_in_the_stream_is_told(error: object) -> None:
    with pytest.raises(WireFault, match="no memory"):
        read(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")


def test_log_probabilities_are_told() -> None:
    top = [{"token": "b", "logprob": -2.0, "bytes": None}]
    told = {"content": [{"token": "é", "logprob": -0.5, "bytes": [195], "top_logprobs": top}]}
    choice = {"index": 0, "delta": {"content": "x"}, "logprobs": told, "finish_reason": "stop"}
    piece, _ = read(b"data: " + json.dumps({"choices": [choice]}).encode())

    assert isinstance(piece, Delta)
    assert piece.logprobs[0].token == b"\xc3"
    assert piece.logprobs[0].top == ((b"b", -2.0),)


# --- what is asked --------------------------------------------------------------------------------

HELLO = Chat(({"role": "user", "content": "hello"},))


def asked(job: Job, kind: str = "openai") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request_of(job, "m", kind)[1])
    return body


def test_what_is_off_is_not_said() -> None:
    assert asked(Job(HELLO, 9, sampling=Sampling(temperature=0))) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "temperature": 0,
        "top_p": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_everything_is_said_that_was_asked_for() -> None:
    sampling = Sampling(0.5, 0.9, 40, 0.1, 7, 0.2, 0.3, 1.1, ((5, -100.0),))
    tool = {"type": "function", "function": {"name": "f"}}
    chat = Chat(HELLO.messages, {"enable_thinking": False}, (tool,))
    body = asked(Job(chat, 9, sampling=sampling, logprobs=3, stop=("x",)))

    assert body["tools"] == [tool]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert body["stop"] == ["x"]
    assert (body["top_k"], body["min_p"], body["seed"]) == (40, 0.1, 7)
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.2, 0.3)
    assert body["repetition_penalty"] == 1.1
    assert body["logit_bias"] == {"5": -100}


def test_messages_go_on_as_they_were_sent() -> None:
    sent = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]
    chat = Chat(HELLO.messages, source=json.dumps(sent).encode())

    assert asked(Job(chat, 9))["messages"] == sent


def test_token_ids_are_a_completion() -> None:
    path, body = request_of(Job(Tokens((1, 2)), 9), "m", "vllm")

    assert path == "/v1/completions"
    assert json.loads(body)["prompt"] == [1, 2]


def test_a_schema_goes_to_every_server() -> None:
    schema = '{"type":"object","properties":{"a":{}}}'
    body = asked(Job(HELLO, 9, grammar=Grammar("json_schema", schema, "response_format")))

    assert body["response_format"]["json_schema"]["schema"] == json.loads(schema)


@pytest.mark.parametrize(
    ("kind", "text", "field", "value"),
    [
        ("regex", "a+", "guided_regex", "a+"),
        ("choice", '["a","b"]', "guided_choice", ["a", "b"]),
        ("grammar", "root ::= x", "guided_grammar", "root ::= x"),
    ],
)
def test_other_grammars_go_to_those_that_know_them(
    kind: Any,  # noqa: ANN401 - one of the literals
    text: str,
    field: str,
    value: object,
) -> None:
    job = Job(HELLO, 9, grammar=Grammar(kind, text, field))

    for server in ("vllm", "lattice"):
        assert asked(job, server)[field] == value
    if kind != "choice":  # which can be said otherwise, see test_choosing.py
        with pytest.raises(BadRequest) as refused:
            asked(job, "openai")
        assert refused.value.param == field


@pytest.mark.parametrize("kind", ["openai", "lmstudio", "vllm", "lattice"])
def test_how_the_last_turn_ends_is_no_option_of_a_template(kind: str) -> None:
    options = {
        "enable_thinking": False,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})

    _, content = request_of(Job(Chat(turns, options), 5), "m", kind)

    body = json.loads(content)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert ("continue_final_message" in body) is (kind == "vllm")
    assert body.get("add_generation_prompt", True) is (kind != "vllm")


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (ToolUse(), {}),
        (ToolUse("none"), {"tool_choice": "none"}),
        (ToolUse("required"), {"tool_choice": "required"}),
        (
            ToolUse("required", "f"),
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        (ToolUse(parallel=False), {"parallel_tool_calls": False}),
        (
            ToolUse("required", parallel=True),
            {"tool_choice": "required", "parallel_tool_calls": True},
        ),
    ],
)
def test_how_tools_may_be_called_reaches_it(use: ToolUse, said: dict[str, Any]) -> None:
    """And only beside tools: without any the fields are an error elsewhere."""
    chat = Chat(HELLO.messages, tools=({"type": "function", "function": {"name": "f"}},))
    names = {"tool_choice", "parallel_tool_calls"}

    body = json.loads(request_of(Job(chat, 9, tool_use=use), "m", "openai")[1])
    bare = json.loads(request_of(Job(HELLO, 9, tool_use=use), "m", "openai")[1])

    assert {name: body[name] for name in names & body.keys()} == said
    assert not names & bare.keys()
