"""Responses: items and turns, the events of a stream, and what is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.generation import CallPiece, Delta, FinishReason, Usage
from lattice_http.responses.answers import Answer, ResponseFrames
from lattice_http.responses.bodies import ResponsesRequest, complete, parse_responses
from lattice_http.responses.callees import Callee
from lattice_http.responses.output import Output
from lattice_http.responses.store import Kept, ResponseStore


def read(before: tuple[bytes, ...] = (), **fields: Any) -> ResponsesRequest:  # noqa: ANN401 - JSON
    body = json.dumps({"input": "hello", **fields}).encode()
    return complete(parse_responses(body), before, {}, 0.0)


def test_what_the_assistant_said_in_a_row_is_one_turn() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    thought = {"type": "reasoning", "id": "rs_1", "content": [{"text": "hm"}], "summary": []}
    said = {"role": "assistant", "content": "Let me look."}
    result = {"type": "function_call_output", "call_id": "c", "output": "4"}

    turns = read(
        instructions="Be brief.", input=[{"role": "user", "content": "a"}, thought, said, call]
    ).chat.messages
    later = read(input=[said, call, {**call, "call_id": "d"}, result, said]).chat.messages

    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": "c", "type": "function", "function": function}]
    assert turns[0] == {"role": "system", "content": "Be brief."}
    assert turns[2] == {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": calls,
    }
    assert [turn["role"] for turn in later] == ["assistant", "tool", "assistant"]
    assert len(later[0]["tool_calls"]) == 2


def test_items_are_kept_with_a_type_and_an_id_and_can_be_read_again() -> None:
    first = read(input=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    kept = tuple(item.json for item in first.items)
    items = [json.loads(item) for item in kept]

    again = read(kept, instructions="other", input="c")

    assert [item["type"] for item in items] == ["message", "message"]
    assert all(item["id"].startswith("msg_") for item in items)
    assert items[0]["content"] == [{"type": "input_text", "text": "a"}]
    assert items[1]["content"] == [{"type": "output_text", "text": "b"}]
    assert [turn["content"] for turn in again.chat.messages] == ["other", "a", "b", "c"]


def test_a_conversation_is_bounded_like_one_body() -> None:
    kept = tuple(item.json for item in read(input="a" * 600).items)
    draft = parse_responses(b'{"input": "b"}')

    with pytest.raises(BadRequest) as caught:
        complete(draft, kept, {}, 0.0, most_bytes=700)

    assert caught.value.param == "previous_response_id"


WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}

TEXT = {"type": "input_text", "text": "a"}


def said(*parts: object) -> object:
    return {"role": "user", "content": [*parts]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type"),
        ({"tools": [{"type": "x"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": 1}}, "reasoning.summary"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": 5}}}, "text.format.schema"),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [WEATHER, {"type": "function"}]}, "tools[1].name"),
        ({"tools": [{**WEATHER, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{**WEATHER, "parameters": 5}]}, "tools[0].parameters"),
        ({"tools": [WEATHER], "tool_choice": {**WEATHER, "name": "x"}}, "tool_choice.name"),
        ({"input": [said({"type": "input_text"})]}, "input[0].content[0].text"),
        ({"input": [said(TEXT, {**TEXT, "text": 1})]}, "input[0].content[1].text"),
        ({"input": [said({"type": "input_image"})]}, "input[0].content[0]"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]},
            "input[0].output",
        ),
        ({"input": [{"type": "reasoning", "content": [{}]}]}, "input[0].content[0].text"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)

    assert caught.value.param == param


def test_what_has_no_effect_is_listed() -> None:
    asked = read(
        include=["reasoning.encrypted_content"], user="me", text={"verbosity": "low"}, store=True
    )

    assert set(asked.chat.ignored) == {
        "include.reasoning.encrypted_content",
        "user",
        "text.verbosity",
    }


# --- the events -----------------------------------------------------------------------------------

PIECES = st.one_of(
    st.builds(lambda text: Delta(text), st.text("ab", min_size=1, max_size=3)),
    st.builds(lambda text: Delta("", reasoning=text), st.text("ab", min_size=1, max_size=3)),
    st.builds(lambda text: Delta("x", reasoning=text), st.text("ab", min_size=1, max_size=3)),
    st.integers(0, 2),  # a piece of this call
)


NAMES = ("f", "custom", "tool_search")
CALLEES = {
    "f": Callee("f"),
    "custom": Callee("custom", "custom"),
    "tool_search": Callee("tool_search", "tool_search"),
}


def deltas_of(drawn: list[Any]) -> list[Delta]:
    begun: set[int] = set()
    deltas: list[Delta] = []
    highest = -1
    for piece in drawn:
        if isinstance(piece, int):
            index = highest if piece and highest >= 0 else highest + 1
            highest = max(highest, index)
            named = {"id": f"c{index}", "name": NAMES[index % 3]} if index not in begun else {}
            text = "{" if index in begun or index % 3 != 1 else '{"input": "a'
            begun.add(index)
            piece = Delta("", calls=(CallPiece(index, arguments=text, **named),))
        deltas.append(piece)
    return deltas


def made(summary: bool) -> Answer:
    return Answer("resp_1", 1, "m", {"tools": []}, Output(summary, CALLEES))


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


@given(st.lists(PIECES, max_size=8), st.booleans(), st.sampled_from(FinishReason))
def test_a_stream_tells_the_same_response_piece_by_piece(
    drawn: list[Any], summary: bool, reason: FinishReason
) -> None:
    deltas, usage = deltas_of(drawn), Usage(3, 4, 1, 2)
    kept: list[Any] = []
    whole = made(summary)
    whole.add(deltas, reason)
    frames = ResponseFrames(made(summary), kept.append, lambda: 2.0)

    sent = frames.start(Usage(0, 0)) + b"".join(map(frames.delta, deltas))
    sent += frames.finish(reason) + frames.ended(usage, "timing")

    events = [
        (frame.split("\n")[0].removeprefix("event: "), json.loads(frame.partition("data: ")[2]))
        for frame in sent.decode().split("\n\n")
        if frame.startswith("event: ")
    ]
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    assert all(name == event["type"] for name, event in events)
    last = events[-1][1]["response"]
    assert kept == [last]
    assert last["usage"]["total_tokens"] == 7
    assert without_ids(last["output"]) == without_ids(whole.output.items)
    done = [event["item"] for name, event in events if name == "response.output_item.done"]
    assert done == last["output"]
    texts = dict.fromkeys(range(len(done)), "")
    for _, event in events:
        texts[event.get("output_index", -1)] = texts.get(event.get("output_index", -1), "") + (
            event.get("delta", "")
        )
    assert [texts[index] for index in range(len(done))] == [text_of(item) for item in done]
    incomplete = reason in (FinishReason.LENGTH, FinishReason.CANCELLED)
    assert (last["status"] == "incomplete") == incomplete
    assert (events[-1][0] == "response.incomplete") == incomplete


def text_of(item: dict[str, Any]) -> str:
    match item["type"]:
        case "function_call":
            return str(item["arguments"])
        case "custom_tool_call":
            return str(item["input"])
        case "tool_search_call":
            return ""  # told when it is whole
    [part] = item.get("summary") or item["content"]
    return str(part["text"])


def test_a_stream_that_fails_says_so_in_both_ways() -> None:
    frames = ResponseFrames(made(summary=False), lambda _: None, lambda: 2.0)
    frames.start(Usage(0, 0))
    error = {"message": "m", "type": "server_error", "param": None, "code": "model_crashed"}

    first, second = frames.error(error).decode().split("\n\n")[:2]

    told = json.loads(first.partition("data: ")[2])
    assert (told["type"], told["code"], told["message"]) == ("error", "model_crashed", "m")
    response = json.loads(second.partition("data: ")[2])["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")


# --- what is kept ---------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "delete", "wait"]),
        st.sampled_from("ab"),  # whose
        st.integers(0, 5),  # which
        st.integers(1, 60),  # bytes, or seconds
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 3), st.integers(1, 100))
def test_the_store_never_exceeds_a_bound_and_keeps_what_was_used_last(
    steps: list[tuple[str, str, int, int]], most: int, most_bytes: int
) -> None:
    store = ResponseStore(most, most_bytes, 50.0)
    now, number = 0.0, 0
    alive: dict[str, dict[str, Kept]] = {"a": {}, "b": {}}  # the longest unused first
    for what, who, which, size in steps:
        mine = alive[who]
        names = sorted(mine)
        name = names[which % len(names)] if names else "none"
        match what:
            case "wait":
                now += size
            case "put":
                number += 1
                kept = Kept({}, (), (), size, now + store.for_s)
                fits = most > 0 and size <= most_bytes
                assert store.put(who, f"r{number}", kept, now) is fits
                for one in alive.values():
                    for gone in [key for key, value in one.items() if value.until <= now]:
                        del one[gone]
                if fits:
                    mine[f"r{number}"] = kept
                while len(mine) > most or sum(each.size for each in mine.values()) > most_bytes:
                    del mine[next(iter(mine))]
            case "get":
                found = store.get(who, name, now)
                expected = mine.get(name)
                if expected is not None and expected.until <= now:
                    expected = None
                assert found is expected
                if found is not None:
                    mine[name] = mine.pop(name)
            case "delete":
                there = name in mine and mine[name].until > now
                assert store.delete(who, name, now) is there
                if there:
                    del mine[name]
    other = {"a": "b", "b": "a"}
    for who, mine in alive.items():
        assert all(store.get(other[who], name, now) is None for name in mine)
        assert all(store.get(who, n, now) is k for n, k in mine.items() if k.until > now)
