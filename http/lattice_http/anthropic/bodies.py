"""The bodies of ``POST /v1/messages`` and ``/v1/messages/count_tokens``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Grammar, JsonObject, ToolUse
from lattice_http.json_bytes import encode
from lattice_http.openai.bodies import decode, is_null, unknown_names, unsupported, wrong
from lattice_http.openai.chat import ChatRequest
from lattice_http.openai.grammars import schema_grammar
from lattice_http.openai.request import MAX_MODEL_CHARS, StopText, TokenLimit
from lattice_http.openai.tools import (
    MAX_TOOLS_BYTES,
    FunctionTool,
    Tools,
    add_tool,
)
from lattice_http.openai.wishes import Headers, read_wishes

from .blocks import Block, Message, TextBlock, conversation, system_text
from .errors import THREAD_UNSUPPORTED

MAX_STOPS = 16
MAX_TOOLS = 512  # agents with many MCP servers send hundreds
MAX_NAME_CHARS = 128  # of a tool

# What makes a template leave the last turn open.
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}

# What a chat's fields are called here. The turns are not the messages: `system` is one of them.
OWN_NAMES = {
    "messages": "messages",
    "stop": "stop_sequences",
    "chat_template_kwargs": "thinking",
    "chat_template_kwargs.add_generation_prompt": "messages",
    "chat_template_kwargs.continue_final_message": "messages",
    "response_format": "output_config.format",
}

# Tools that run at Anthropic have a type with a date, "web_search_20250305".
CUSTOM = ("custom", None)


class Tool(msgspec.Struct, frozen=True):
    """A tool of the caller's own. One that Anthropic runs has a versioned `type`."""

    name: str
    input_schema: Raw = Raw()
    description: str | None = None
    type: str | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, frozen=True):
    type: str  # "enabled", "adaptive", "disabled"
    budget_tokens: int | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    type: Literal["json_schema"]
    schema: Raw


class OutputConfig(msgspec.Struct, frozen=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt is made of."""

    model: Annotated[str, Meta(max_length=MAX_MODEL_CHARS)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None  # what `output_config.format` was called before

    # Known, and not honoured.
    mcp_servers: Raw = Raw()
    container: Raw = Raw()
    thread: Raw = Raw()


class MessagesBody(CountBody, frozen=True, kw_only=True):
    """A whole request. A field that is not here is listed as ignored."""

    max_tokens: TokenLimit
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None  # theirs end at 1
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    stop_sequences: Annotated[list[StopText], Meta(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None


_COUNT: msgspec.json.Decoder[CountBody] = msgspec.json.Decoder(CountBody)
_MESSAGES: msgspec.json.Decoder[MessagesBody] = msgspec.json.Decoder(MessagesBody)


def parse_count(body: bytes, headers: Headers, unix_now: float) -> ChatRequest:
    """Check a prompt to be counted. Raises `BadRequest`, which names the field."""
    form, sent = decode(body, _COUNT)
    return _request(form, sent, headers, unix_now)


def parse_messages(body: bytes, headers: Headers, unix_now: float) -> ChatRequest:
    """Check one body that arrived at *unix_now* (Unix time, seconds).

    Raises:
        BadRequest: with the `param` to blame; code ``unsupported_parameter`` for what we know
            and cannot do.
    """
    form, sent = decode(body, _MESSAGES)
    return attrs.evolve(
        _request(form, sent, headers, unix_now),
        max_tokens=form.max_tokens,
        temperature=form.temperature,
        top_p=form.top_p,
        top_k=form.top_k,
        stop=tuple(form.stop_sequences or ()),
        stream=bool(form.stream),
        # It has to be sent, so clients send what their models could write at the most.
        shorten=True,
    )


def _request(
    form: CountBody, sent: dict[str, Raw], headers: Headers, unix_now: float
) -> ChatRequest:
    for name in ("mcp_servers", "container"):
        raw: Raw = getattr(form, name)
        if not is_null(raw) and bytes(raw) != b"[]":
            raise unsupported(name)
    if not is_null(form.thread):
        # Ignoring it would be worse than a refusal: the next turn comes without its history.
        raise wrong("thread", "send the whole conversation", code=THREAD_UNSUPPORTED)
    said = conversation(system_text(form.system), form.messages)
    tools = _tools(form)
    ignored = [*unknown_names(sent, type(form))]
    options: dict[str, Any] = {}
    if form.thinking is not None:
        options["enable_thinking"] = form.thinking.type != "disabled"
        if form.thinking.budget_tokens is not None:
            ignored.append("thinking.budget_tokens")
    if form.output_config is not None and form.output_config.effort is not None:
        ignored.append("output_config.effort")
    if _is_begun(form.messages[-1]):
        options |= CONTINUE
    return ChatRequest(
        spec=form.model,
        messages=said.turns,
        messages_json=encode(said.source),
        text_bytes=said.text_bytes,
        image_param=said.image_param,
        template_options=options,
        tools=tools.given,
        tools_bytes=tools.size,
        tool_use=tools.use,
        grammar=_grammar(form),
        wishes=read_wishes(None, headers, unix_now),
        ignored=tuple(ignored),
        own_names=OWN_NAMES,
    )


def _is_begun(last: Message) -> bool:
    """The answer begins with what the last message says: it is of the assistant's, text alone."""
    content = last.content
    if last.role != "assistant":
        return False
    texts = [content] if isinstance(content, str) else [_text(block) for block in content]
    return all(text is not None for text in texts) and any(texts)


def _text(block: Block) -> str | None:
    return block.text if isinstance(block, TextBlock) else None


def _grammar(form: CountBody) -> Grammar | None:
    config = form.output_config
    if config is not None and config.format is not None:
        given, where = config.format, "output_config.format"
    elif form.output_format is not None:
        given, where = form.output_format, "output_format"
    else:
        return None
    return schema_grammar(given.schema, f"{where}.schema", where)


def _tools(form: CountBody) -> Tools:
    given: dict[str, JsonObject] = {}
    size = 0
    for index, tool in enumerate(form.tools or ()):
        where = f"tools[{index}]"
        if tool.type not in CUSTOM:
            raise unsupported(f"{where}.type", "only tools of the caller's own can be called")
        function = FunctionTool(tool.name, tool.description, tool.input_schema, tool.strict)
        add_tool(given, function, where, "input_schema", MAX_NAME_CHARS)
        size += len(memoryview(tool.input_schema)) + len((tool.description or "").encode())
    if len(given) > MAX_TOOLS:
        raise wrong("tools", f"more than {MAX_TOOLS} of them")
    if size > MAX_TOOLS_BYTES:
        raise wrong("tools", f"more than {MAX_TOOLS_BYTES} bytes")
    return Tools(tuple(given.values()), _use(form.tool_choice, given), size)


def _use(choice: ToolChoice | None, given: Mapping[str, JsonObject]) -> ToolUse:
    if choice is None or choice.type == "none":
        return ToolUse("auto" if choice is None else "none")
    parallel = None if choice.disable_parallel_tool_use is None else False
    if choice.disable_parallel_tool_use is False:
        parallel = True
    if choice.type == "auto":
        return ToolUse(parallel=parallel)
    if not given:
        raise wrong("tool_choice", "only allowed together with tools")
    if choice.type == "any":
        return ToolUse("required", parallel=parallel)
    if choice.name is None or choice.name not in given:
        raise wrong("tool_choice.name", "not one of the tools")
    return ToolUse("required", choice.name, parallel)
