"""The tools of Responses, as functions of a chat.

A custom tool, which takes free text, is a function of one argument. The functions of a namespace
stand beside the others, under longer names. Tools that a server has to run are left out, for
nobody runs them here, and named as ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from lattice_actors.generation import JsonObject
from lattice_http.openai.bodies import decode_part, is_null, unsupported, wrong
from lattice_http.openai.tools import MAX_TOOLS, MAX_TOOLS_BYTES, FunctionTool, add_tool

from .callees import INPUT, SEARCH, Callee, flat_name
from .tool_forms import (
    CUSTOM,
    FUNCTION,
    LIST,
    NAMESPACE,
    SEARCH_TOOL,
    TYPED,
    CustomForm,
    FunctionForm,
    GrammarFormat,
    NamespaceForm,
    is_hosted,
)

MAX_FUNCTIONS = 512  # agents with many MCP servers send hundreds
# What is read at all, with what is replaced later: each tool costs some 10 µs, and holds all up.
MAX_READ = 4096
MAX_READ_BYTES = 4 * MAX_TOOLS_BYTES


@attrs.frozen
class _Place:
    """Where a tool stands."""

    where: str  # in the body, for blame
    again: bool = False  # one of this name may be there already, and is replaced
    namespace: str = ""
    about: str = ""  # of the namespace, said with its first tool


@attrs.define
class Toolbox:
    """All the tools of one request."""

    given: dict[str, JsonObject] = attrs.field(factory=dict[str, JsonObject])  # by flat name
    callees: dict[str, Callee] = attrs.field(factory=dict[str, Callee])
    shown: list[Any] = attrs.field(factory=list[Any])  # those of `tools`, as they are shown again
    ignored: dict[str, None] = attrs.field(factory=dict[str, None])  # what has no effect, in order
    _sizes: dict[str, int] = attrs.field(init=False, factory=dict[str, int])
    _read: int = attrs.field(init=False, default=0)  # tools and namespaces, again and again
    _read_bytes: int = attrs.field(init=False, default=0)  # namespaces count twice

    @property
    def size(self) -> int:
        """Bytes of JSON, about."""
        return sum(self._sizes.values())

    def read(self, raw: Raw) -> None:
        """Take the `tools` of a body. Raises BadRequest."""
        for where, one in self._listed(raw, "tools"):
            if self._add(one, _Place(where)):
                self.shown.append(_shown(one))
        self._check("tools")

    def read_more(self, raw: Raw, where: str) -> list[str]:
        """Take tools that stand in the conversation; return their names in the chat.

        What was found twice is told twice: the later one counts. Raises BadRequest.
        """
        names: list[str] = []
        for inner, one in self._listed(raw, where):
            names += self._add(one, _Place(inner, again=True))
        self._check(where)
        return names

    def _listed(self, raw: Raw, where: str) -> Iterable[tuple[str, Raw]]:
        if is_null(raw):
            return ()
        size = len(memoryview(raw))
        if size > MAX_TOOLS_BYTES:
            raise wrong(where, f"more than {MAX_TOOLS_BYTES} bytes")
        listed = decode_part(raw, LIST, where)
        if len(listed) > MAX_TOOLS:
            raise wrong(where, f"more than {MAX_TOOLS} of them")
        self._read += len(listed)
        self._read_bytes += size
        if self._read > MAX_READ or self._read_bytes > MAX_READ_BYTES:
            reason = f"more than {MAX_READ} tools or {MAX_READ_BYTES} bytes of them in all"
            raise wrong(where, reason)
        return [(f"{where}[{index}]", one) for index, one in enumerate(listed)]

    def _check(self, where: str) -> None:
        if len(self.given) > MAX_FUNCTIONS:
            raise wrong(where, f"more than {MAX_FUNCTIONS} functions")
        if self.size > MAX_TOOLS_BYTES:
            raise wrong(where, f"more than {MAX_TOOLS_BYTES} bytes")

    def _add(self, raw: Raw, place: _Place) -> list[str]:
        where = place.where
        kind = decode_part(raw, TYPED, where).type
        if kind == "namespace":
            return self._add_namespace(decode_part(raw, NAMESPACE, where), place)
        if kind == SEARCH:
            search = decode_part(raw, SEARCH_TOOL, where)
            if search.execution == "client":
                function = FunctionTool(SEARCH, search.description, search.parameters)
                return [self._put(function, Callee(SEARCH, SEARCH), place, raw)]
        if is_hosted(kind):
            self.ignored[f"tools.{kind}"] = None
            return []
        return [self._add_one(raw, kind, place)]

    def _add_namespace(self, group: NamespaceForm, place: _Place) -> list[str]:
        add_tool({}, FunctionTool(group.name), place.where, "")  # named as functions are
        names: list[str] = []
        about = group.description or ""
        for where, one in self._listed(group.tools, f"{place.where}.tools"):
            kind = decode_part(one, TYPED, where).type
            inside = _Place(where, place.again, group.name, "" if names else about)
            names.append(self._add_one(one, kind, inside))
        return names

    def _add_one(self, raw: Raw, kind: str, place: _Place) -> str:
        form: FunctionForm | CustomForm
        if kind == "function":
            form = decode_part(raw, FUNCTION, place.where)
            function = FunctionTool(form.name, form.description, form.parameters, form.strict)
            callee = Callee(form.name, "function", place.namespace)
        elif kind == "custom":
            form = decode_part(raw, CUSTOM, place.where)
            if isinstance(form.format, GrammarFormat):
                self.ignored[f"{place.where}.format"] = None
            function = FunctionTool(form.name, _described(form), _FREE_TEXT)
            callee = Callee(form.name, "custom", place.namespace)
        else:
            known = "function or custom" if place.namespace else "function, custom or namespace"
            raise unsupported(f"{place.where}.type", f"{kind[:64]!r} is no type of tool: {known}")
        if form.defer_loading and not place.again:
            self.ignored["tools.defer_loading"] = None
        return self._put(function, callee, place, raw)

    def _put(self, function: FunctionTool, callee: Callee, place: _Place, raw: Raw) -> str:
        alone: dict[str, JsonObject] = {}
        add_tool(alone, function, place.where, "parameters")
        flat = flat_name(callee.namespace, callee.name)
        there = self.callees.get(flat)
        if there is not None and not (place.again and there == callee):
            reason = "there is a tool of this name already"
            if flat != callee.name or flat != there.name:
                reason = f"models would know it as {flat!r}, as they know another tool"
            raise wrong(f"{place.where}.name", reason)
        told = {**alone[function.name]["function"], "name": flat}
        if place.about:
            said = [told["description"]] if told.get("description") else []
            prefix = flat_name(callee.namespace, "")
            said.append(f"About all functions named {prefix}...: {place.about}")
            told["description"] = "\n\n".join(said)
        self.given[flat] = {"type": "function", "function": told}
        self.callees[flat] = callee
        self._sizes[flat] = len(memoryview(raw)) + len(place.about)
        return flat


_FREE_TEXT = Raw(
    msgspec.json.encode(
        {
            "type": "object",
            "properties": {INPUT: {"type": "string", "description": "All of it, as it is."}},
            "required": [INPUT],
            "additionalProperties": False,
        }
    )
)


def _shown(raw: Raw) -> Any:  # noqa: ANN401 - JSON
    """Clients expect some fields of a function; the others are shown as they were sent."""
    if TYPED.decode(raw).type != "function":
        return raw
    form = FUNCTION.decode(raw)
    return {
        "type": "function",
        "name": form.name,
        "description": form.description,
        "parameters": None if is_null(form.parameters) else form.parameters,
        "strict": form.strict,
    }


def _described(tool: CustomForm) -> str | None:
    """Nothing holds the text to a grammar, but the model is told of it."""
    form = tool.format
    if not isinstance(form, GrammarFormat):
        return tool.description
    grammar = f"The {INPUT} keeps to this {form.syntax} grammar:\n{form.definition}"
    return "\n\n".join([*filter(None, [tool.description]), grammar])
