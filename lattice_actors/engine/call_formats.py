"""How models write their tool calls. Imports no mlx.

A model whose template takes tools has its own format, and mlx-lm a parser for it. For all others,
and for answers that are held to their tools by a grammar where the own format is not JSON, there
is the form of Hermes and Qwen, which most models have met in training:

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call>
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .parts import Call, CallFormat

Tools = Sequence[Mapping[str, Any]]
ToolParser = Callable[[str, Any], Any]

# An opening bracket, and the name in it; then the arguments.
_NAMED = (
    r'[\s,\[\]}]*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?'
    r'"name"\s*:\s*"(?P<name>[^"\\<]{1,128})"'
)
JSON_NAMED = re.compile(_NAMED)
JSON_HEAD = re.compile(_NAMED + r'\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')
# Where mlx-lm's format has JSON arguments; `name[ARGS]` may be repeated with or without marker.
HEADS: dict[str, tuple[re.Pattern[str], ...]] = {
    "mistral": (
        re.compile(r"(?:\s|\[TOOL_CALLS\])*(?P<name>[\w-]{1,128})\s*\[ARGS\]\s*(?=\{)"),
        JSON_HEAD,
    ),
    "kimi_k2": (
        re.compile(
            r"(?:\s|<\|tool_call_end\|>)*<\|tool_call_begin\|>\s*"
            r"(?P<id>(?:functions\.)?(?P<name>[\w.-]{1,128}):\d+)\s*"
            r"<\|tool_call_argument_begin\|>\s*(?=\{)"
        ),
    ),
}
CLOSERS = {
    "qwen3_coder": "\n</function>",
    "minimax_m2": "</invoke>",
    "kimi_k3": "<|close|>call<|sep|>",
    "function_gemma": "}",
    "pythonic": ")]",
}
BETWEEN = {"mistral": ("[TOOL_CALLS]",), "kimi_k2": ("<|tool_call_end|>",)}
# They find a call in any text.
NEVER_FAIL = ("glm47", "laguna")


class ToolTokenizer(Protocol):
    """What we use of mlx-lm's `TokenizerWrapper` for calls."""

    @property
    def has_tool_calling(self) -> bool: ...

    @property
    def tool_call_start(self) -> str | None: ...

    @property
    def tool_call_end(self) -> str | None: ...

    @property
    def tool_parser(self) -> ToolParser | None: ...

    @property
    def init_kwargs(self) -> Mapping[str, Any]: ...


def kind_of(tokenizer: ToolTokenizer) -> str:
    """Return the name of mlx-lm's parser; "" where there is none."""
    if not tokenizer.has_tool_calling:
        return ""
    return str(tokenizer.init_kwargs.get("tool_parser_type") or "")


def own_format(tokenizer: ToolTokenizer, tools: Tools) -> CallFormat:
    """Return the format of a model that has one."""
    parser, kind = tokenizer.tool_parser, kind_of(tokenizer)
    assert parser is not None
    if kind == "json_tools":
        return HERMES
    # Parsers look into the parameters, which a tool need not have.
    whole = [_with_parameters(tool) for tool in tools]
    known = {str(tool["function"]["name"]) for tool in whole}

    def parse(body: str) -> Sequence[Call]:
        try:
            calls = _calls_of(parser(body, whole))
        except Exception as error:  # foreign code, and most of it is written for whole calls
            raise ValueError(f"no call: {error!r}"[:200]) from error
        if kind in NEVER_FAIL and not all(call.name in known for call in calls):
            raise ValueError("no call of these tools")
        return calls

    return CallFormat(
        tokenizer.tool_call_start or "",
        tokenizer.tool_call_end or "",
        parse,
        HEADS.get(kind, ()),
        CLOSERS.get(kind, ""),
        BETWEEN.get(kind, ()),
        frozenset(known),
    )


def _with_parameters(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(tool["function"])
    function["parameters"] = {"properties": {}} | (function.get("parameters") or {})
    return {**tool, "function": function}


def parse_json(body: str) -> Sequence[Call]:
    """Read one call or a list of calls. Raises ValueError."""
    try:
        return _calls_of(json.loads(body))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _calls_of(parsed: object) -> list[Call]:
    each = parsed if isinstance(parsed, list) else [parsed]
    if not each:
        raise ValueError("no call")
    return [_call_of(one) for one in each]


def _call_of(one: object) -> Call:
    name = one.get("name") if isinstance(one, dict) else None
    if not isinstance(one, dict) or not isinstance(name, str) or not name:
        raise ValueError("no name")
    given = one.get("arguments", one.get("parameters", {}))
    arguments = json.loads(given) if isinstance(given, str) else given  # some write them as a text
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValueError("arguments are no object")  # noqa: TRY004 - one kind for all that fails
    call_id = one.get("id")
    text = json.dumps(arguments, ensure_ascii=False, default=str)
    return Call(name, text, call_id if isinstance(call_id, str) else "")


HERMES = CallFormat("<tool_call>", "</tool_call>", parse_json, (JSON_HEAD,), named=JSON_NAMED)


# --- history and instructions, for templates that know no tools -----------------------------------


def instructions(tools: Tools, must: str | None) -> str:
    """Return what a model is told of its tools. *must*: it has to call this one ("": any)."""
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    duty = ""
    if must is not None:
        duty = f"\n\nYou must call {must or 'one of these functions'} now."
    return (
        "You may call functions to help with what the user asks. They are listed in "
        f"<tools></tools> with a JSON schema of their arguments:\n<tools>\n{listed}\n</tools>\n\n"
        "To call a function, answer with a JSON object of its name and arguments in "
        "<tool_call></tool_call>:\n"
        '<tool_call>\n{"name": "function name", "arguments": {"name of argument": "value"}}\n'
        f"</tool_call>{duty}"
    )


def with_instructions(
    turns: Sequence[Mapping[str, Any]], text: str, *, as_user: bool = False
) -> list[dict[str, Any]]:
    """Return the turns with *text* in the system message, or *as_user* in the first user turn."""
    role = "user" if as_user else "system"
    told = [dict(turn) for turn in turns]
    for turn in told:
        if turn.get("role") == role:
            parts = (text, turn["content"]) if as_user else (turn["content"], text)
            turn["content"] = "\n\n".join(filter(None, parts))
            return told
        if not as_user:
            break  # a system message that comes later is about something else
    return [{"role": role, "content": text}, *told]


def told_in_text(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a history without tool turns: calls are text, and what they gave the user says."""
    told: list[dict[str, Any]] = []
    for turn in turns:
        content = turn["content"]
        if turn.get("role") == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
            if told and told[-1].get("_responses"):  # templates want turns to alternate
                told[-1]["content"] += f"\n{content}"
            else:
                told.append({"role": "user", "content": content, "_responses": True})
            continue
        new = dict(turn)
        if calls := [_as_text(call["function"]) for call in new.pop("tool_calls", ())]:
            new["content"] = "\n".join(filter(None, [content, *calls]))
        told.append(new)
    return [{k: v for k, v in turn.items() if k != "_responses"} for turn in told]


def _as_text(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments") or {}
    given = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {given}}}\n</tool_call>'
