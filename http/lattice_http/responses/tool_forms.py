"""The tools of Responses as they are sent, one form for each type. Values only."""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import Raw

from lattice_http.openai.tools import Name

# What a server runs, or is trained to ask its caller for. Some have a date behind their name.
HOSTED = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_preview",
    }
)
_DATE = re.compile(r"_\d{4}_\d{2}_\d{2}")


class FunctionForm(msgspec.Struct, frozen=True, gc=False):
    """A function that the caller runs."""

    name: Name
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None
    defer_loading: bool | None = None


class AnyText(msgspec.Struct, tag="text", frozen=True, gc=False):
    pass


class GrammarFormat(msgspec.Struct, tag="grammar", frozen=True, gc=False):
    syntax: Literal["lark", "regex"]
    definition: str


class CustomForm(msgspec.Struct, frozen=True, gc=False):
    """A tool that takes free text."""

    name: Name
    description: str | None = None
    format: AnyText | GrammarFormat | None = None
    defer_loading: bool | None = None


class NamespaceForm(msgspec.Struct, frozen=True, gc=False):
    """A group of functions and custom tools."""

    name: Name
    tools: Raw
    description: str | None = None


class SearchForm(msgspec.Struct, frozen=True, gc=False):
    """Finds more tools. Who says that the caller runs it gets its calls."""

    execution: Literal["server", "client"] | None = None
    description: str | None = None
    parameters: Raw = Raw()


class Typed(msgspec.Struct, frozen=True, gc=False):
    """What every tool has."""

    type: str


LIST: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
TYPED = msgspec.json.Decoder(Typed)
FUNCTION = msgspec.json.Decoder(FunctionForm)
CUSTOM = msgspec.json.Decoder(CustomForm)
NAMESPACE = msgspec.json.Decoder(NamespaceForm)
SEARCH_TOOL = msgspec.json.Decoder(SearchForm)


def is_hosted(kind: str) -> bool:
    """Tools of this type are not the caller's own functions, and nobody here can call them."""
    return _DATE.sub("", kind) in HOSTED
