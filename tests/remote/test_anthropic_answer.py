"""What comes back from the cloud, whatever the pieces it comes in."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.generation import CallPiece, Delta, Finish, FinishReason, Usage
from lattice_actors.remote.anthropic_answer import (
    MessageReader,
    fault_of_event,
    fault_of_status,
)
from lattice_actors.remote.faults import Blame, WireFault
from tests.remote.anthropic_events import HELLO, PING, block, delta, last, named, piece, start, stop

WHOLE = (
    start(cache_read_input_tokens=90, cache_creation_input_tokens=3)
    + block(0, "thinking", thinking="")
    + delta(0, "thinking_delta", thinking="hmm")
    + delta(0, "signature_delta", signature="xyz")
    + stop(0)
    + PING
    + block(1, text="")
    + piece("let me ", 1)
    + piece("look", 1)
    + stop(1)
    + block(2, "tool_use", id="toolu_1", name="look", input={})
    + delta(2, "input_json_delta", partial_json="")
    + delta(2, "input_json_delta", partial_json='{"at":')
    + delta(2, "input_json_delta", partial_json=' "moon"}')
    + stop(2)
    + block(3, "tool_use", id="toolu_2", name="wait", input={})
    + stop(3)
    + named("something_new", index=9)
    + last("tool_use", output_tokens=30)
)


def read(*parts: bytes) -> tuple[Delta, Finish]:
    reader = MessageReader("anthropic")
    events = list(itertools.chain(*(reader.feed(part) for part in parts), reader.end()))
    *deltas, finish = events
    assert isinstance(finish, Finish)
    joined = Delta("", 0)
    for each in deltas:
        assert isinstance(each, Delta)
        joined = joined.joined(each)
    return joined, finish


def test_a_whole_answer_is_read() -> None:
    said, finish = read(WHOLE)

    assert (said.text, said.reasoning) == ("let me look", "hmm")
    assert said.calls == (
        CallPiece(0, "toolu_1", "look"),
        CallPiece(0, arguments='{"at":'),
        CallPiece(0, arguments=' "moon"}'),
        CallPiece(1, "toolu_2", "wait"),
        CallPiece(1, arguments="{}"),
    )
    assert finish == Finish(FinishReason.TOOL_CALLS, Usage(100, 30, 90))


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    parts = [WHOLE[a:b] for a, b in itertools.pairwise(places)]

    assert read(*parts) == read(WHOLE)


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("refusal", FinishReason.STOP),
        ("pause_turn", FinishReason.STOP),
        ("one of tomorrow", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
    ],
)
def test_stop_reasons(reason: str, ours: FinishReason) -> None:
    assert read(start() + block(0) + piece("a") + last(reason))[1].reason is ours


def test_a_call_that_comes_whole_is_read() -> None:
    told = block(0, "tool_use", id="a", name="look", input={"at": 1}) + stop(0)
    said, _ = read(start() + told + last("tool_use"))

    assert json.loads("".join(call.arguments for call in said.calls)) == {"at": 1}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (HELLO.removesuffix(named("message_stop")), "upstream_cut_off"),
        (HELLO[:-60], "upstream_bad_answer"),
        (b"", "upstream_cut_off"),
        (b"data: {]\n\n", "upstream_bad_answer"),
        (b'data: {"type": 5}\n\n', "upstream_bad_answer"),
        (b"data: " + b"x" * 1_100_000, "upstream_bad_answer"),
        (start() + delta(4, "input_json_delta", partial_json="{"), "upstream_bad_answer"),
        (block(0, "tool_use", id="a", name="b") * 2, "upstream_bad_answer"),
        (named("error", error={"type": "api_error", "message": "oh"}), "upstream_failed"),
        (named("error", error={"type": "overloaded_error"}), "upstream_overloaded"),
    ],
)
def test_what_is_no_answer_is_a_fault(sent: bytes, code: str) -> None:
    with pytest.raises(WireFault) as failed:
        read(sent)

    assert failed.value.fault.code == code


@given(st.binary(max_size=200) | st.text().map(lambda text: f"data: {text}\n\n".encode()))
def test_no_bytes_do_more_than_fail(data: bytes) -> None:
    with pytest.raises(WireFault):
        read(data)


def test_what_was_left_early_is_estimated() -> None:
    reader = MessageReader("anthropic")
    reader.feed(start() + block(0) + piece("x" * 350))

    assert reader.counted.usage.prompt_tokens == 7
    assert reader.output_tokens == 100


@pytest.mark.parametrize(
    ("status", "blame"),
    [
        (400, Blame.CALLER),
        (401, Blame.SETTINGS),
        (402, Blame.SETTINGS),
        (404, Blame.SETTINGS),
        (413, Blame.CALLER),
        (429, Blame.BUSY),
        (500, Blame.SERVER),
        (529, Blame.BUSY),
    ],
)
def test_statuses(status: int, blame: Blame) -> None:
    body = b'{"type":"error","error":{"type":"x","message":"with sk-ant-api03-abcdef and K"}}'
    fault = fault_of_status("anthropic", status, {"retry-after": "7"}, body, "K")

    assert fault.blame is blame
    assert "sk-ant-api03" not in fault.message
    assert "with" in fault.message
    if blame is Blame.BUSY:
        assert fault.retry_after_s == 7


def test_the_key_is_in_no_message() -> None:
    fault = fault_of_event("anthropic", {"message": "bad key SECRET"}, "SECRET")

    assert "SECRET" not in fault.message
