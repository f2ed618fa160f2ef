"""The grammar of answers that are held to their tools, in llguidance's Lark. Pure.

Calls have the form of `call_formats.HERMES`; their arguments keep to the schema of the tool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .call_formats import Tools
from .frames import Grammar

MOST_CALLS = 16  # of one answer: small models do not stop by themselves
# One way to write white space: a model that may indent may also indent for ever.
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}  # as at OpenAI
ANY_ARGUMENTS: Mapping[str, Any] = {"type": "object"}
# Beside these, properties that are not listed are as good as listed ones.
_OPEN: tuple[str, ...] = (
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "propertyNames",
)
_OPEN += ("allOf", "anyOf", "oneOf", "not", "if", "$ref", "dependentSchemas", "minProperties")

# In answers models like to indent, and small ones never stop: some white space, not any amount.
WHITESPACE = r"[ \n]{0,16}"

Term = Callable[[str], str]  # a marker as a terminal


def schema_of(function: Mapping[str, Any], *, kept: bool) -> dict[str, Any]:
    """Return the schema of the arguments; *kept*: as it says, else any object."""
    if not kept:
        return {**ANY_ARGUMENTS, "x-guidance": COMPACT}
    return {**closed(function.get("parameters") or NO_ARGUMENTS), "x-guidance": COMPACT}


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return *schema* without room for properties that nobody has listed.

    All it allows is allowed by *schema*. Without this a small model makes up properties.
    """
    new = dict(schema)
    inner = new.get("properties")
    if isinstance(inner, dict):
        new["properties"] = {
            key: closed(value) if isinstance(value, dict) else value for key, value in inner.items()
        }
        required = new.get("required")
        listed = not isinstance(required, list) or all(name in inner for name in required)
        if listed and not any(key in new for key in _OPEN):
            new["additionalProperties"] = False
    if isinstance(new.get("items"), dict):
        new["items"] = closed(new["items"])
    return new


def grammar_of_calls(
    tools: Tools,
    *,
    must: bool,
    many: bool,
    strict_only: bool,
    answer: Grammar | None = None,
    term: Term = json.dumps,
) -> str:
    """Return the grammar of an answer that may call *tools*.

    Args:
        must: it has to; else text is as good.
        many: where it has to, up to `MOST_CALLS` calls; else one.
        strict_only: hold only tools with ``strict`` to their schema.
        answer: what a text keeps to instead of a call.
        term: how a marker is written, which may be a special token.
    """
    rules, names = [], []
    for number, tool in enumerate(tools):
        function = tool["function"]
        kept = not strict_only or bool(function.get("strict"))
        head = json.dumps('{"name": ' + json.dumps(function["name"]) + ', "arguments": ')
        names.append(f"call_{number}")
        rules.append(f'call_{number}: {head} args_{number} "}}"')
        rules.append(f"args_{number}: %json {json.dumps(schema_of(function, kept=kept))}")
    start, end = term("<tool_call>"), term("</tool_call>")
    rules.append(f"call: {' | '.join(names)}")
    rules.append(f'inside: "\\n"? call "\\n"? {end}')
    if must or answer is not None:
        more = f' ("\\n"? section){{0,{MOST_CALLS - 1}}}' if many else ""
        rules.append(f"section: {start} inside")
        rules.append(f"calls: section{more}")
        if answer is None:
            rules.append("start: calls")
        else:
            rules += ["start: calls | answer", *_answer(answer)]
        return "\n".join(["%llguidance {}", *rules]) + "\n"
    rules.append("TEXT: /(.|\\n)*/")
    if start.startswith("<["):
        rules.append(f"section: TEXT {start} inside")
    else:
        rules += [f"opened[lazy]: TEXT {start}", "section: opened inside"]
    rules += ["start: section* rest", "rest: TEXT"]
    return "\n".join(["%llguidance {}", *rules]) + "\n"


def _answer(grammar: Grammar) -> Sequence[str]:
    match grammar.kind:
        case "json_schema":
            spaces = {"whitespace_flexible": True, "whitespace_pattern": WHITESPACE}
            schema = {**json.loads(grammar.text), "x-guidance": spaces}
            return [f"answer: %json {json.dumps(schema)}"]
        case "choice":
            texts = [json.dumps(each, ensure_ascii=False) for each in json.loads(grammar.text)]
            return [f"answer: {' | '.join(texts)}"]
        case kind:
            raise ValueError(f"a {kind} cannot be an alternative to calls")
