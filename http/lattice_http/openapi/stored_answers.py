"""What Responses answer, the schemas of what they take, and the events of a stream."""

from __future__ import annotations

import msgspec

from lattice_http.responses.bodies import ResponsesBody
from lattice_http.responses.choice import NamedTool
from lattice_http.responses.items import (
    AgentMessageItem,
    CallItem,
    CustomCallItem,
    CustomResultItem,
    FoundItem,
    MessageItem,
    MoreToolsItem,
    ReasoningItem,
    ResultItem,
    SearchCallItem,
)
from lattice_http.responses.tool_forms import (
    HOSTED,
    CustomForm,
    FunctionForm,
    NamespaceForm,
    SearchForm,
)

from .fields import RESPONSES_FIELDS, RESPONSES_RAW
from .shapes import (
    COUNT,
    NULL,
    NUMBER,
    TEXT,
    TRUTH,
    UNIX_S,
    Schema,
    const,
    either,
    listing,
    mapping,
    maybe,
    nullable,
    obj,
    one_of,
    ref,
    said,
)
from .structs import Described

_ITEMS: dict[str, type[msgspec.Struct]] = {
    "message": MessageItem,
    "function_call": CallItem,
    "function_call_output": ResultItem,
    "custom_tool_call": CustomCallItem,
    "custom_tool_call_output": CustomResultItem,
    "tool_search_call": SearchCallItem,
    "tool_search_output": FoundItem,
    "additional_tools": MoreToolsItem,
    "agent_message": AgentMessageItem,
    "reasoning": ReasoningItem,
}
_TOOLS: dict[str, type[msgspec.Struct]] = {
    "function": FunctionForm,
    "custom": CustomForm,
    "namespace": NamespaceForm,
    "tool_search": SearchForm,
}
_STATUS = one_of("in_progress", "completed", "incomplete")
_PART = obj(type=const("output_text"), text=TEXT, annotations=listing({}), logprobs=listing({}))
_THOUGHT = obj(type=one_of("reasoning_text", "summary_text"), text=TEXT)
_OUTPUT = either(
    obj(
        type=const("message"),
        id=TEXT,
        status=_STATUS,
        role=const("assistant"),
        content=listing(_PART),
    ),
    obj(
        type=const("function_call"),
        id=TEXT,
        status=_STATUS,
        call_id=TEXT,
        name=TEXT,
        namespace=maybe(TEXT),
        arguments=said(TEXT, "JSON."),
    ),
    obj(
        type=const("custom_tool_call"),
        id=TEXT,
        status=_STATUS,
        call_id=TEXT,
        name=TEXT,
        namespace=maybe(TEXT),
        input=TEXT,
    ),
    obj(
        type=const("tool_search_call"),
        id=TEXT,
        status=_STATUS,
        call_id=TEXT,
        execution=const("client"),
        arguments=mapping({}),
    ),
    obj(
        type=const("reasoning"),
        id=TEXT,
        status=_STATUS,
        summary=listing(_THOUGHT),
        content=listing(_THOUGHT),
    ),
)

ANSWERS: dict[str, Schema] = {
    "ResponsesUsage": obj(
        input_tokens=COUNT,
        input_tokens_details=obj(cached_tokens=COUNT, cache_write_tokens=COUNT),
        output_tokens=COUNT,
        output_tokens_details=obj(reasoning_tokens=COUNT),
        total_tokens=COUNT,
    ),
    "ResponsesOutputItem": _OUTPUT,
    "ResponsesAnswer": obj(
        id=TEXT,
        object=const("response"),
        created_at=UNIX_S,
        completed_at=nullable(UNIX_S),
        status=one_of("in_progress", "completed", "incomplete", "failed"),
        background=TRUTH,
        error=nullable(obj(code=TEXT, message=TEXT)),
        incomplete_details=nullable(obj(reason=TEXT)),
        model=TEXT,
        output=listing(ref("ResponsesOutputItem")),
        instructions=nullable(TEXT),
        max_output_tokens=nullable(COUNT),
        metadata=mapping(TEXT),
        parallel_tool_calls=TRUTH,
        previous_response_id=nullable(TEXT),
        reasoning=obj(effort=nullable(TEXT), summary=nullable(TEXT)),
        store=TRUTH,
        temperature=NUMBER,
        text={"type": "object"},
        tool_choice={"type": ["string", "object"]},
        tools=listing({"type": "object"}),
        top_p=NUMBER,
        truncation=one_of("auto", "disabled"),
        usage=nullable(ref("ResponsesUsage")),
    ),
    "ResponsesDeleted": obj(id=TEXT, object=const("response"), deleted=const(True)),
    "ResponsesInputItems": obj(
        object=const("list"),
        data=listing({"type": "object"}),
        first_id=nullable(TEXT),
        last_id=nullable(TEXT),
        has_more=TRUTH,
    ),
}


_HOSTED = obj(
    "A tool that a server runs: left out, and listed as ignored.",
    type=said(TEXT, f"{', '.join(sorted(HOSTED))}; some with a date behind."),
)


def _refs(structs: dict[str, type[msgspec.Struct]]) -> list[Schema]:
    return [ref(f"Responses{struct.__name__}") for struct in structs.values()]


def described() -> dict[str, Schema]:
    """Return the schemas of this area."""
    bodies = Described("Responses", RESPONSES_RAW, RESPONSES_FIELDS)
    schemas = bodies.add(ResponsesBody, NamedTool, *_TOOLS.values(), *_ITEMS.values())
    for kind, struct in (*_TOOLS.items(), *_ITEMS.items()):
        typed = schemas[f"Responses{struct.__name__}"]
        own: Schema = {"type": const(kind)}
        if struct in _ITEMS.values():
            own["id"] = nullable(TEXT)
        typed["properties"] = own | typed["properties"]
        if kind != "message":  # what has no type is a message
            typed["required"] = ["type", *typed.get("required", ())]
    return {
        **schemas,
        "ResponsesItem": either(*_refs(_ITEMS)),
        "ResponsesTool": either(*_refs(_TOOLS), _HOSTED),
        **ANSWERS,
    }


_AT = {"item_id": TEXT, "output_index": COUNT}
_EVENT_FIELDS: dict[str, dict[str, Schema]] = {
    "created": {"response": ref("ResponsesAnswer")},
    "in_progress": {"response": ref("ResponsesAnswer")},
    "output_item.added": {"output_index": COUNT, "item": ref("ResponsesOutputItem")},
    "output_item.done": {"output_index": COUNT, "item": ref("ResponsesOutputItem")},
    "content_part.added": {**_AT, "content_index": COUNT, "part": either(_PART, _THOUGHT)},
    "content_part.done": {**_AT, "content_index": COUNT, "part": either(_PART, _THOUGHT)},
    "output_text.delta": {**_AT, "content_index": COUNT, "delta": TEXT, "logprobs": listing({})},
    "output_text.done": {**_AT, "content_index": COUNT, "text": TEXT, "logprobs": listing({})},
    "reasoning_text.delta": {**_AT, "content_index": COUNT, "delta": TEXT},
    "reasoning_text.done": {**_AT, "content_index": COUNT, "text": TEXT},
    "reasoning_summary_part.added": {**_AT, "summary_index": COUNT, "part": _THOUGHT},
    "reasoning_summary_part.done": {**_AT, "summary_index": COUNT, "part": _THOUGHT},
    "reasoning_summary_text.delta": {**_AT, "summary_index": COUNT, "delta": TEXT},
    "reasoning_summary_text.done": {**_AT, "summary_index": COUNT, "text": TEXT},
    "function_call_arguments.delta": {**_AT, "delta": TEXT},
    "function_call_arguments.done": {**_AT, "name": TEXT, "arguments": TEXT},
    "custom_tool_call_input.delta": {**_AT, "delta": TEXT},
    "custom_tool_call_input.done": {**_AT, "input": TEXT},
    "completed": {"response": ref("ResponsesAnswer")},
    "incomplete": {"response": ref("ResponsesAnswer")},
    "failed": {"response": ref("ResponsesAnswer")},
}


def _event(name: str, fields: dict[str, Schema]) -> Schema:
    return obj(type=const(name), sequence_number=COUNT, **fields)


EVENTS = {
    **{
        f"response.{name}": _event(f"response.{name}", fields)
        for name, fields in _EVENT_FIELDS.items()
    },
    "error": _event("error", {"code": TEXT, "message": TEXT, "param": either(TEXT, NULL)}),
}
