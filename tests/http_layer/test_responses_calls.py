"""Calls of all kinds of tools in Responses: as the model reads them again, and as it makes them."""

from __future__ import annotations

import json
from typing import Any

from lattice_actors.generation import CallPiece, Delta, ToolUse
from lattice_http.responses.output import Output
from tests.http_layer.test_responses import read
from tests.http_layer.test_responses_tools import CRM, FIND, FOUND, PATCH, SEARCH, WEB

# --- the conversation -----------------------------------------------------------------------------


def called(turn: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - JSON
    return [
        (call["function"]["name"], call["function"]["arguments"]) for call in turn["tool_calls"]
    ]


def test_calls_of_all_kinds_come_back_as_the_model_made_them() -> None:
    patch = 'a "line"\n'
    items = [
        {"role": "user", "content": "a"},
        {"type": "function_call", "call_id": "1", "name": "find", "arguments": "{}"}
        | {"namespace": "mcp__crm"},
        {"type": "custom_tool_call", "call_id": "2", "name": "apply_patch", "input": patch},
        {"type": "custom_tool_call", "call_id": "3", "name": "exec", "input": "x"}
        | {"namespace": "functions"},
        {"type": "function_call_output", "call_id": "1", "output": "Ada"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": "done"},
        {"type": "custom_tool_call_output", "call_id": "3", "output": [TEXT, TEXT]},
    ]

    turns = read(input=items).chat.messages
    kept = tuple(item.json for item in read(input=items).items)

    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool", "tool"]
    assert called(turns[1]) == [
        ("mcp__crm__find", "{}"),
        ("apply_patch", json.dumps({"input": patch}, separators=(",", ":"))),
        ("functions__exec", '{"input":"x"}'),
    ]
    assert [(turn["tool_call_id"], turn["content"]) for turn in turns[2:]] == [
        ("1", "Ada"),
        ("2", "done"),
        ("3", "t\nt"),
    ]
    assert read(kept).chat.messages[:-1] == turns
    ids = [json.loads(item)["id"].partition("_")[0] for item in kept]
    assert ids == ["msg", "fc", "ctc", "ctc", "fco", "ctco", "ctco"]


TEXT = {"type": "input_text", "text": "t"}


def test_tools_that_were_found_can_be_called_from_then_on() -> None:
    search = {"type": "tool_search_call", "call_id": "c", "execution": "client"}
    items = [{**search, "arguments": {"query": "x"}}, FOUND, FOUND, {**FOUND, "tools": []}]

    asked = read(input=items, tools=[SEARCH])
    kept = tuple(item.json for item in asked.items)
    later = read(kept, tools=[SEARCH], tool_choice={"type": "function", "name": "count"})

    told = [tool["function"]["name"] for tool in asked.chat.tools]
    assert told == ["tool_search", "mcp__crm__find", "mcp__crm__count"]
    assert called(asked.chat.messages[0]) == [("tool_search", '{"query":"x"}')]
    contents = [turn["content"] for turn in asked.chat.messages[1:]]
    assert contents[0] == contents[1] == "Can be called now: mcp__crm__find, mcp__crm__count"
    assert contents[2] == "No such tools."
    assert [tool["function"]["name"] for tool in later.chat.tools] == told
    assert later.chat.tool_use.name == "mcp__crm__count"
    assert len(asked.echo["tools"]) == 1


def test_tools_may_stand_in_the_input_alone() -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [PATCH, WEB]}

    asked = read(input=[more, {"role": "user", "content": "a"}], tool_choice="required")

    assert [tool["function"]["name"] for tool in asked.chat.tools] == ["apply_patch"]
    assert [turn["role"] for turn in asked.chat.messages] == ["user"]
    assert asked.chat.tool_use == ToolUse("required")
    assert asked.chat.ignored == ("input[0].tools[0].format", "tools.web_search")
    assert asked.chat.tools_bytes > 100


def test_images_of_results_are_shown_when_all_results_are_told() -> None:
    image = {"type": "input_image", "image_url": "data:,", "detail": "high"}
    call = {"type": "function_call", "name": "view", "arguments": "{}"}
    result = {"type": "function_call_output", "output": [TEXT, image]}
    items = [
        *({**call, "call_id": call_id} for call_id in "12"),
        *({**result, "call_id": call_id} for call_id in "12"),
        {"role": "user", "content": "And?"},
    ]

    chat = read(input=items).chat

    assert [turn["role"] for turn in chat.messages] == ["assistant", "tool", "tool", "user", "user"]
    assert [turn["content"] for turn in chat.messages[1:3]] == ["t", "t"]
    shown = json.loads(chat.messages_json)[3]["content"]
    assert [part["type"] for part in shown] == ["text", "image_url", "image_url"]
    assert chat.image_param == "input[2].output[1]"
    assert len(json.loads(read(input=items[:-1]).chat.messages_json)) == 4


def test_what_another_agent_says_is_a_turn_of_its_own() -> None:
    told = [TEXT, {"type": "encrypted_content", "encrypted_content": "Say ok."}]
    item = {"type": "agent_message", "author": "/root", "recipient": "/root/a", "content": told}

    [turn] = read(input=[item]).chat.messages

    assert turn == {"role": "user", "content": "t\nSay ok."}


def test_system_messages_in_a_row_are_one() -> None:
    orders = [{"role": role, "content": role} for role in ("developer", "system")]
    items = [*orders, {"role": "user", "content": "a"}, *orders]

    turns = read(instructions="Be brief.", input=items).chat.messages

    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("system", "Be brief.\n\ndeveloper\n\nsystem"),
        ("user", "a"),
        ("system", "developer\n\nsystem"),
    ]
    assert json.loads(read(input=items).chat.messages_json)[0]["content"] == "developer\n\nsystem"


# --- the answer -----------------------------------------------------------------------------------

CALLEES = read(tools=[FIND, PATCH, CRM, SEARCH]).callees


def answered(*pieces: CallPiece, cut: bool = False) -> tuple[list[dict[str, Any]], list[Any]]:
    """The items without their ids, and the events."""
    output = Output(callees=CALLEES)
    events = [event for piece in pieces for event in output.add(Delta("", calls=(piece,)))]
    events += output.end(cut=cut)
    items = [{k: v for k, v in item.items() if k not in ("id", "status")} for item in output.items]
    return items, events


def test_a_call_goes_back_into_its_namespace() -> None:
    [item], events = answered(CallPiece(0, "c", "mcp__crm__find", "{}"))

    assert item == {
        "type": "function_call",
        "call_id": "c",
        "name": "find",
        "namespace": "mcp__crm",
        "arguments": "{}",
    }
    assert [name for name, _ in events] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert events[2][1]["name"] == "find"


def test_a_call_of_a_custom_tool_is_told_as_its_text() -> None:
    pieces = ['{"inp', 'ut": "a \\', "n\\u00e", "9 \\ud83d", '\\ude00"', "}"]
    begun = CallPiece(0, "c", "apply_patch", "")
    [item, other], events = answered(
        begun, *(CallPiece(0, arguments=piece) for piece in pieces), CallPiece(1, "d", "find", "{}")
    )

    text = "a \né 😀"
    assert item == {
        "type": "custom_tool_call",
        "call_id": "c",
        "name": "apply_patch",
        "input": text,
    }
    assert other["type"] == "function_call"
    assert events[0][1]["item"]["input"] == ""
    told = [fields["delta"] for name, fields in events if name == "custom_tool_call_input.delta"]
    assert told == ["a ", "\n", "é ", "😀"]
    [done] = [fields for name, fields in events if name == "custom_tool_call_input.done"]
    assert done["input"] == text


def test_a_search_for_tools_is_told_as_an_object() -> None:
    [item], events = answered(
        CallPiece(0, "c", "tool_search", '{"query"'), CallPiece(0, arguments=': "x"}')
    )
    [broken], _ = answered(CallPiece(0, "c", "tool_search", '{"query"'), cut=True)

    assert item == {
        "type": "tool_search_call",
        "call_id": "c",
        "execution": "client",
        "arguments": {"query": "x"},
    }
    assert [name for name, _ in events] == ["output_item.added", "output_item.done"]
    assert broken["arguments"] == {}


def test_a_name_that_nobody_gave_is_a_function_of_that_name() -> None:
    [item], _ = answered(CallPiece(0, "c", "crm.find", "{}"))

    assert (item["type"], item["name"]) == ("function_call", "crm.find")
    assert "namespace" not in item
