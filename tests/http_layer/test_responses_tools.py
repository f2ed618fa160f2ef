"""The tools of Responses that are no plain functions: what a model is told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.errors import BadRequest
from lattice_actors.generation import ToolUse
from lattice_http.responses.callees import MAX_NAME_CHARS, Callee, flat_name
from tests.http_layer.test_responses import read

OBJECT = {"type": "object", "properties": {"name": {"type": "string"}}}
FIND: dict[str, Any] = {"type": "function", "name": "find", "parameters": OBJECT}
PATCH: dict[str, Any] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'},
}
CRM: dict[str, Any] = {
    "type": "namespace",
    "name": "mcp__crm",
    "description": "The customers.",
    "tools": [{**FIND, "description": "One of them."}, {**FIND, "name": "count"}],
}
SEARCH: dict[str, Any] = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": OBJECT,
}
WEB: dict[str, Any] = {"type": "web_search", "external_web_access": False}


def functions(fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the model is told, by name."""
    return {tool["function"]["name"]: tool["function"] for tool in read(**fields).chat.tools}


def test_a_namespace_is_functions_under_its_name() -> None:
    asked = read(tools=[FIND, CRM])
    told = functions({"tools": [FIND, CRM]})

    assert list(told) == ["find", "mcp__crm__find", "mcp__crm__count"]
    assert told["mcp__crm__find"]["parameters"] == OBJECT
    about = "About all functions named mcp__crm__...: The customers."
    assert told["mcp__crm__find"]["description"] == f"One of them.\n\n{about}"
    assert "description" not in told["mcp__crm__count"]
    assert json.loads(bytes(asked.echo["tools"][1])) == CRM
    assert asked.callees["mcp__crm__find"] == Callee("find", "function", "mcp__crm")
    assert asked.chat.ignored == ()


def test_a_custom_tool_is_a_function_of_one_text_and_its_grammar_is_told() -> None:
    told = functions({"tools": [PATCH, {"type": "custom", "name": "free"}]})

    assert told["apply_patch"]["parameters"]["required"] == ["input"]
    assert told["apply_patch"]["parameters"]["properties"]["input"]["type"] == "string"
    assert told["apply_patch"]["description"].startswith("Edits files.\n\nThe input keeps to this ")
    assert told["apply_patch"]["description"].endswith('lark grammar:\nstart: "x"')
    assert "description" not in told["free"]
    assert read(tools=[PATCH]).chat.ignored == ("tools[0].format",)
    assert read(tools=[{**PATCH, "format": {"type": "text"}}]).chat.ignored == ()


def test_what_a_server_would_run_is_left_out_and_listed() -> None:
    hosted = [
        WEB,
        {"type": "web_search_preview_2025_03_11"},
        {"type": "mcp", "server_label": "x", "name": 5},
        WEB,
        {"type": "tool_search"},  # by the server, as nobody says that the client does
    ]
    asked = read(tools=[*hosted, {**FIND, "defer_loading": True}], tool_choice="auto")
    alone = read(tools=hosted, tool_choice="none", parallel_tool_calls=True)

    left_out = (
        "tools.web_search",
        "tools.web_search_preview_2025_03_11",
        "tools.mcp",
        "tools.tool_search",
    )
    assert asked.chat.ignored == (*left_out, "tools.defer_loading")
    assert [tool["name"] for tool in asked.echo["tools"]] == ["find"]
    assert [tool["function"]["name"] for tool in asked.chat.tools] == ["find"]
    assert alone.chat.ignored == (*left_out, "parallel_tool_calls")
    assert alone.chat.tools == ()


names = st.text("ab_-", min_size=1, max_size=64)


@given(names, names)
def test_a_flat_name_is_one_of_a_function_and_always_the_same(namespace: str, name: str) -> None:
    flat = flat_name(namespace, name)

    assert 0 < len(flat) <= MAX_NAME_CHARS
    assert set(flat) <= set("abcdef0123456789_-")
    told = functions({"tools": [{**CRM, "name": namespace, "tools": [{**FIND, "name": name}]}]})
    assert list(told) == [flat]


def test_names_that_are_too_long_stay_apart() -> None:
    long = "n" * 40
    tools = [{**FIND, "name": long + end} for end in "ab"]

    told = functions({"tools": [{**CRM, "name": long, "tools": tools}]})

    assert len(told) == 2
    assert max(map(len, told)) == MAX_NAME_CHARS


@pytest.mark.parametrize(
    ("chosen", "use"),
    [
        ({"type": "custom", "name": "apply_patch"}, ToolUse("required", "apply_patch")),
        ({"type": "function", "name": "count"}, ToolUse("required", "mcp__crm__count")),
        ({"type": "function", "name": "find"}, ToolUse("required", "find")),
        (
            {"type": "function", "name": "find", "namespace": "mcp__crm"},
            ToolUse("required", "mcp__crm__find"),
        ),
        ({"type": "tool_search"}, ToolUse("required", "tool_search")),
        ("required", ToolUse("required")),
    ],
    ids=str,
)
def test_one_tool_can_be_demanded(chosen: object, use: ToolUse) -> None:
    asked = read(tools=[FIND, PATCH, CRM, SEARCH, WEB], tool_choice=chosen)

    assert asked.chat.tool_use == use


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_some_of_the_tools_can_be_allowed(mode: str) -> None:
    allowed = [{"type": "custom", "name": "apply_patch"}, {"type": "function", "name": "count"}]
    choice = {"type": "allowed_tools", "mode": mode, "tools": [*allowed, {"type": "web_search"}]}

    asked = read(tools=[FIND, PATCH, CRM, WEB], tool_choice=choice)

    assert [t["function"]["name"] for t in asked.chat.tools] == ["apply_patch", "mcp__crm__count"]
    assert asked.chat.tool_use.choice == mode


OTHER = {**CRM, "name": "other"}
ALIKE = {**FIND, "name": "mcp__crm__find"}
FOUND: dict[str, Any] = {"type": "tool_search_output", "call_id": "c", "tools": [CRM]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "funktion"}]}, "tools[0].type"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"tools": 5}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "x" * 65}]}, "tools[0].name"),
        ({"tools": [FIND, FIND]}, "tools[1].name"),
        ({"tools": [FIND, {**PATCH, "name": "find"}]}, "tools[1].name"),
        ({"tools": [{**PATCH, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{**PATCH, "format": {"type": "grammar"}}]}, "tools[0].format.syntax"),
        ({"tools": [{**PATCH, "format": {"type": "xml"}}]}, "tools[0].format.type"),
        ({"tools": [ALIKE, CRM]}, "tools[1].tools[0].name"),
        ({"tools": [CRM, CRM]}, "tools[1].tools[0].name"),
        ({"tools": [CRM, {**CRM, "name": "mcp__crm__"}]}, "tools[1].tools[0].name"),
        ({"tools": [{**CRM, "name": "a.b"}]}, "tools[0].name"),
        ({"tools": [{**CRM, "tools": 5}]}, "tools[0].tools"),
        ({"tools": [{"type": "namespace", "name": "a"}]}, "tools[0].tools"),
        ({"tools": [{**CRM, "tools": [CRM]}]}, "tools[0].tools[0].type"),
        ({"tools": [{**CRM, "tools": [WEB]}]}, "tools[0].tools[0].type"),
        ({"tools": [{**CRM, "tools": [{**FIND, "name": "a.b"}]}]}, "tools[0].tools[0].name"),
        ({"tools": [FIND] * 129}, "tools"),
        (
            {
                "tools": [
                    {
                        **CRM,
                        "name": f"n{i}",
                        "tools": [{**FIND, "name": f"f{j}"} for j in range(99)],
                    }
                    for i in range(6)
                ]
            },
            "tools",
        ),
        ({"tools": [{**CRM, "description": "x" * 300_000}]}, "tools"),
        ({"tools": [{**SEARCH, "parameters": 5}]}, "tools[0].parameters"),
        ({"tools": [WEB], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEB, FIND], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tools": [FIND], "tool_choice": {"type": "tool_search"}}, "tool_choice.type"),
        ({"tools": [FIND], "tool_choice": {"type": "robot"}}, "tool_choice.type"),
        ({"tools": [FIND], "tool_choice": {"type": "custom", "name": "find"}}, "tool_choice.name"),
        (
            {"tools": [CRM, OTHER], "tool_choice": {"type": "function", "name": "find"}},
            "tool_choice.namespace",
        ),
        ({"tools": [FIND], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.tools"),
        (
            {"tools": [FIND], "tool_choice": {"type": "allowed_tools", "tools": [PATCH]}},
            "tool_choice.tools[0].name",
        ),
        ({"input": [{"type": "custom_tool_call", "call_id": "c", "name": "f"}]}, "input[0].input"),
        ({"input": [{**FOUND, "tools": 5}]}, "input[0].tools"),
        ({"input": [FOUND], "tools": [ALIKE]}, "input[0].tools[0].tools[0].name"),
        ({"input": [{"type": "additional_tools", "tools": [{}]}]}, "input[0].tools[0].type"),
        ({"input": [{**FOUND, "tools": [FIND] * 128}] * 33}, "input[32].tools"),
        (
            {"input": [{**FOUND, "tools": [{**FIND, "description": "x" * 250_000}]}] * 5},
            "input[4].tools",
        ),
        (
            {"input": [{"type": "tool_search_call", "call_id": "c", "arguments": "{}"}]},
            "input[0].arguments",
        ),
    ],
    ids=lambda value: str(value)[:80],
)
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)

    assert caught.value.param == param
