"""Which of its tools a response may call, and whether it has to: ``tool_choice``."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw

from lattice_actors.generation import ToolUse
from lattice_http.openai.bodies import decode_part, is_null, unsupported, wrong
from lattice_http.openai.tools import Name, Tools

from .callees import SEARCH, Callee, Callees
from .tool_forms import is_hosted
from .tools import Toolbox

Word = Literal["none", "auto", "required"]


class NamedTool(msgspec.Struct, frozen=True):
    """One tool. The namespace may be left out where only one tool has the name."""

    type: str
    name: Name | None = None
    namespace: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Raw = Raw()


_CHOICE: msgspec.json.Decoder[Word | NamedTool] = msgspec.json.Decoder(Word | NamedTool)
_NAMED: msgspec.json.Decoder[list[NamedTool]] = msgspec.json.Decoder(list[NamedTool])
_WHERE = "tool_choice"


def chosen_tools(box: Toolbox, choice: Raw, parallel: bool | None) -> Tools:
    """Return the tools of *box* that may be called. Raises `BadRequest`."""
    chosen: Word | NamedTool = "auto"
    if not is_null(choice):
        chosen = decode_part(choice, _CHOICE, _WHERE)
    given = tuple(box.given.values())
    if isinstance(chosen, NamedTool) and chosen.type == "allowed_tools":
        allowed = _allowed(box.callees, chosen)
        given = tuple(tool for name, tool in box.given.items() if name in allowed)
        chosen = chosen.mode or "auto"
    if isinstance(chosen, NamedTool):
        use = ToolUse("required", _one(box.callees, chosen, _WHERE), parallel)
    elif given:
        use = ToolUse(chosen, parallel=parallel)
    elif chosen == "required":
        left_out = ", ".join(box.ignored)
        reason = f"nobody here can run {left_out}" if left_out else "only allowed with tools"
        raise wrong(_WHERE, reason)
    else:
        return Tools()
    return Tools(given, use, box.size)


def _allowed(callees: Callees, chosen: NamedTool) -> set[str]:
    """Return the names of those that are listed; what nobody can call is left out here, too."""
    where = f"{_WHERE}.tools"
    if is_null(chosen.tools):
        raise wrong(where, "required with this type")
    listed = decode_part(chosen.tools, _NAMED, where)
    return {
        _one(callees, tool, f"{where}[{index}]")
        for index, tool in enumerate(listed)
        if not is_hosted(tool.type) or (tool.type == SEARCH and SEARCH in callees)
    }


def _one(callees: Callees, tool: NamedTool, where: str) -> str:
    if tool.type == SEARCH and SEARCH in callees:
        return SEARCH
    if is_hosted(tool.type):
        raise unsupported(f"{where}.type", f"nobody here can run {tool.type}")
    if tool.type not in ("function", "custom"):
        raise unsupported(f"{where}.type", "expected a function or a custom tool")
    found = [flat for flat, callee in callees.items() if _is(callee, tool)]
    if not found:
        raise wrong(f"{where}.name", "not one of the tools")
    plain = [flat for flat in found if not callees[flat].namespace]
    if len(found) > 1 and not plain:
        raise wrong(f"{where}.namespace", "several tools have this name")
    return (plain or found)[0]


def _is(callee: Callee, tool: NamedTool) -> bool:
    same = callee.kind == tool.type and callee.name == tool.name
    return same and tool.namespace in (None, callee.namespace)
