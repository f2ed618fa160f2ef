"""The tools of a chat: what a model may call, and whether it has to."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import JsonObject, ToolUse

from .bodies import OBJECT, check_portable, decode_part, is_empty, is_null, unsupported, wrong

MAX_TOOLS = 128  # as at OpenAI
MAX_PARAMETERS_BYTES = 64 * 1024  # of one tool
MAX_TOOLS_BYTES = 256 * 1024  # of all: 60,000 tokens, more than most contexts have
MAX_DEPTH = 32  # of a schema

_NAME = re.compile(r"[A-Za-z0-9_-]+")  # OpenAI's pattern, and Anthropic's

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class FunctionTool(msgspec.Struct, frozen=True, gc=False):
    name: Name
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, gc=False):
    type: str
    function: FunctionTool | None = None


class NamedFunction(msgspec.Struct, frozen=True, gc=False):
    name: Name


class NamedTool(msgspec.Struct, frozen=True, gc=False):
    type: Literal["function"]
    function: NamedFunction


_TOOLS: msgspec.json.Decoder[list[Tool]] = msgspec.json.Decoder(list[Tool])
_CHOICE: msgspec.json.Decoder[Literal["none", "auto", "required"] | NamedTool] = (
    msgspec.json.Decoder(Literal["none", "auto", "required"] | NamedTool)
)


@attrs.frozen
class Tools:
    """What a request says about tools."""

    given: tuple[JsonObject, ...] = ()
    use: ToolUse = attrs.field(factory=ToolUse)
    size: int = 0  # bytes of JSON


def read_tools(tools: Raw, choice: Raw, parallel: bool | None) -> Tools:
    """Check the three fields of a body. Raises `BadRequest`, which names the field."""
    if is_empty(tools, b"[]", "tools"):
        if not is_null(choice) and bytes(choice) not in (b'"none"', b'"auto"'):
            raise wrong("tool_choice", "only allowed together with tools")
        return Tools()
    size = len(memoryview(tools))
    if size > MAX_TOOLS_BYTES:
        raise wrong("tools", f"more than {MAX_TOOLS_BYTES} bytes")
    forms = decode_part(tools, _TOOLS, "tools")
    if len(forms) > MAX_TOOLS:
        raise wrong("tools", f"more than {MAX_TOOLS} of them")
    given: dict[str, JsonObject] = {}
    for index, form in enumerate(forms):
        where = f"tools[{index}]"
        if form.type != "function":
            raise unsupported(f"{where}.type", "only functions can be called")
        if form.function is None:
            raise wrong(f"{where}.function", "required")
        add_tool(given, form.function, f"{where}.function", "parameters")
    return Tools(tuple(given.values()), _use(choice, parallel, given), size)


def add_tool(
    given: dict[str, JsonObject],
    tool: FunctionTool,
    where: str,
    schema: str,
    most_chars: int = 64,
) -> None:
    """Check *tool*, found at *where*, and add it to *given* as templates take it.

    *schema* is what this wire calls its parameters, *most_chars* how long it lets a name be.
    Raises `BadRequest`.
    """
    if not _NAME.fullmatch(tool.name) or len(tool.name) > most_chars:
        reason = f"expected 1 to {most_chars} letters, digits, underscores and dashes"
        raise wrong(f"{where}.name", reason)
    if tool.name in given:
        raise wrong(f"{where}.name", "there is a tool of this name already")
    told: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        told["description"] = tool.description
    if not is_null(tool.parameters):
        told["parameters"] = _schema(tool.parameters, f"{where}.{schema}")
    if tool.strict is not None:
        told["strict"] = tool.strict
    given[tool.name] = {"type": "function", "function": told}


def _use(choice: Raw, parallel: bool | None, given: dict[str, JsonObject]) -> ToolUse:
    if is_null(choice):
        return ToolUse(parallel=parallel)
    chosen = decode_part(choice, _CHOICE, "tool_choice")
    if isinstance(chosen, str):
        return ToolUse(chosen, parallel=parallel)
    name = chosen.function.name
    if name not in given:
        raise wrong("tool_choice.function.name", "not one of the tools")
    return ToolUse("required", name, parallel)


def _schema(raw: Raw, where: str) -> dict[str, Any]:
    if len(memoryview(raw)) > MAX_PARAMETERS_BYTES:
        raise wrong(where, f"more than {MAX_PARAMETERS_BYTES} bytes")
    schema = decode_part(raw, OBJECT, where)
    if schema.get("type", "object") != "object":
        raise wrong(f"{where}.type", "expected 'object'")
    for key, kind in (("properties", dict), ("required", list)):
        if not isinstance(schema.get(key, kind()), kind):
            raise wrong(f"{where}.{key}", f"expected {'an object' if kind is dict else 'an array'}")
    check_portable(schema, MAX_DEPTH, where)
    if schema and "type" not in schema and "$ref" not in schema:
        schema = {"type": "object", **schema}
    return schema
