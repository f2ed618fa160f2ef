"""The body of ``POST /v1/chat/completions``, checked and brought into the form templates take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Chat, JsonObject

from .bodies import INT64_MIN, decode, decode_part, is_empty, is_null, unsupported, wrong
from .request import ModelBody, ModelRequest, TokenLimit, shared_fields
from .tools import Tools, read_tools
from .wishes import Headers

MAX_TOP_LOGPROBS = 20  # as at OpenAI
MAX_TEMPLATE_OPTIONS_BYTES = 16 * 1024
MAX_TEMPLATE_OPTIONS_DEPTH = 8
UINT64_MAX = 2**64 - 1  # the largest integer that goes to the engine

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

# Arguments of `apply_chat_template` that are ours. A template of the caller's own would run in
# the engine, and the others change what kind of value comes back.
RESERVED_TEMPLATE_OPTIONS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


class TextPart(msgspec.Struct, tag="text", frozen=True, gc=False):
    text: str


class RefusalPart(msgspec.Struct, tag="refusal", frozen=True, gc=False):
    """An assistant's refusal, sent back as history."""

    refusal: str


class ImageUrl(msgspec.Struct, frozen=True, gc=False):
    url: str


class ImagePart(msgspec.Struct, tag="image_url", frozen=True, gc=False):
    image_url: ImageUrl | str


class Function(msgspec.Struct, frozen=True, gc=False):
    name: str
    arguments: str  # JSON, as the model wrote it


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    function: Function
    id: str | None = None
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        str | Annotated[list[TextPart | ImagePart | RefusalPart], Meta(min_length=1)] | None
    ) = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same under its other name


class ChatBody(ModelBody, frozen=True, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: TokenLimit | None = None
    chat_template_kwargs: Raw = Raw()
    reasoning_effort: Effort | None = None
    parallel_tool_calls: bool | None = None

    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    # Known, and not honoured.
    modalities: list[str] | None = None
    audio: Raw = Raw()
    prediction: Raw = Raw()
    web_search_options: Raw = Raw()
    moderation: Raw = Raw()


_BODY: msgspec.json.Decoder[ChatBody] = msgspec.json.Decoder(ChatBody)
_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_RAW_MESSAGES: msgspec.json.Decoder[list[dict[str, Any]]] = msgspec.json.Decoder(
    list[dict[str, Any]]
)


@attrs.frozen(kw_only=True)
class ChatRequest(ModelRequest):
    """A conversation to continue.

    `messages` are for the model's chat template: ``content`` is always a string (the text parts,
    one a line; ``""`` where there was none), ``developer`` is ``system``, ``function`` is
    ``tool``, and keys that have no value are left out.
    """

    messages: tuple[JsonObject, ...]
    messages_json: bytes = attrs.field(repr=False)  # as sent
    text_chars: int  # characters of all contents
    text_bytes: int  # the same in UTF-8
    image_param: str | None = None  # the first image, "messages[0].content[1]"
    template_options: JsonObject = attrs.field(factory=dict[str, Any])
    tools: tuple[JsonObject, ...] = ()
    tools_bytes: int = 0  # of JSON

    @property
    def has_image(self) -> bool:
        """Only a model with vision may answer."""
        return self.image_param is not None

    def raw_messages(self) -> list[dict[str, Any]]:
        """Return the messages as sent, decoded anew: for servers that take them as they are."""
        return decode_part(self.messages_json, _RAW_MESSAGES, "messages")

    def prompt(self) -> Chat:
        """Return what the model is asked."""
        return Chat(self.messages, self.template_options, self.tools, self.messages_json)


def parse_chat(body: bytes, headers: Headers, unix_now: float) -> ChatRequest:
    """Check one body that arrived at *unix_now* (Unix time, seconds).

    Raises:
        BadRequest: with the `param` to blame; code ``unsupported_parameter`` for what we know
            and cannot do.
    """
    form, sent = decode(body, _BODY)
    _refuse_unhonoured(form)
    shared = shared_fields(form, sent, headers, unix_now)
    if form.max_completion_tokens is not None:
        shared["max_tokens"] = form.max_completion_tokens

    tools = read_tools(form.tools, form.tool_choice, form.parallel_tool_calls)
    _refuse_beside_tools(form, tools)
    if form.parallel_tool_calls is not None and not tools.given:
        shared["ignored"] += ("parallel_tool_calls",)

    messages: list[JsonObject] = []
    chars = size = 0
    image: str | None = None
    for index, message in enumerate(form.messages):
        content = message.content
        if type(content) is not str:
            content, position = _flatten(message, index)
            if image is None and position is not None:
                image = f"messages[{index}].content[{position}]"
        chars += len(content)
        size += len(content) if content.isascii() else len(content.encode())
        messages.append(_turn(message, content))
    return ChatRequest(
        messages=tuple(messages),
        messages_json=bytes(sent["messages"]),
        text_chars=chars,
        text_bytes=size,
        image_param=image,
        logprobs=_logprobs(form),
        template_options=_with_effort(
            _template_options(form.chat_template_kwargs), form.reasoning_effort
        ),
        tools=tools.given,
        tools_bytes=tools.size,
        tool_use=tools.use,
        **shared,
    )


def _logprobs(form: ChatBody) -> int | None:
    if form.logprobs:
        return form.top_logprobs or 0
    if form.top_logprobs:
        raise wrong("top_logprobs", "only allowed when logprobs is true")
    return None


def _flatten(message: Message, index: int) -> tuple[str, int | None]:
    """Return the text of a content that is no string, and the place of its first image."""
    if message.content is None:
        if message.role == "assistant" and (message.tool_calls or message.function_call):
            return "", None  # templates add to it, and None cannot be added to
        raise wrong(f"messages[{index}].content", "expected a string or a list of parts")
    assert not isinstance(message.content, str)
    texts: list[str] = []
    image: int | None = None
    for position, part in enumerate(message.content):  # no match: it takes twice as long here
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, RefusalPart):
            texts.append(part.refusal)
        elif image is None:
            image = position
    return "\n".join(texts), image


def _turn(message: Message, content: str) -> JsonObject:
    role: str = message.role
    if role == "developer":
        role = "system"
    elif role == "function":
        role = "tool"
    turn: dict[str, Any] = {"role": role, "content": content}
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_calls:
        turn["tool_calls"] = [_call(call) for call in message.tool_calls]
    elif message.function_call is not None:  # how tools were called before there were tools
        turn["tool_calls"] = [_call(ToolCall(message.function_call))]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    reasoning = message.reasoning_content or message.reasoning
    if reasoning is not None:
        turn["reasoning_content"] = reasoning
    return turn


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    known = {} if call.id is None else {"id": call.id}
    return {**known, "type": "function", "function": function}


def _refuse_unhonoured(form: ChatBody) -> None:
    if form.modalities and form.modalities != ["text"]:
        raise unsupported("modalities")
    for name in ("audio", "prediction", "web_search_options", "moderation"):
        if not is_null(getattr(form, name)):
            raise unsupported(name)


def _refuse_beside_tools(form: ChatBody, tools: Tools) -> None:
    """An answer is text in this form or a call; a grammar of the caller's own knows no calls."""
    if not tools.given or tools.use.choice != "auto":
        return  # calls alone, or text alone: then it holds for the text as ever
    for name in ("guided_regex", "guided_grammar"):
        if getattr(form, name) is not None:
            raise unsupported(name, "not together with tools that the model may call")


def _with_effort(options: dict[str, Any], effort: Effort | None) -> dict[str, Any]:
    """Tell templates of the effort; what the caller told them itself is stronger."""
    if effort is None:
        return options
    return {"reasoning_effort": effort, "enable_thinking": effort != "none"} | options


def _template_options(raw: Raw) -> dict[str, Any]:
    """Decode ``chat_template_kwargs``, of which the engine takes only what msgpack can carry."""
    name = "chat_template_kwargs"
    if is_empty(raw, b"{}", name):
        return {}
    if len(memoryview(raw)) > MAX_TEMPLATE_OPTIONS_BYTES:
        raise wrong(name, f"more than {MAX_TEMPLATE_OPTIONS_BYTES} bytes")
    options = decode_part(raw, _OBJECT, name)
    for key in options:
        if key in RESERVED_TEMPLATE_OPTIONS:
            raise unsupported(f"{name}.{key}", "set by the server")
    _check_portable(options, MAX_TEMPLATE_OPTIONS_DEPTH)
    return options


def _check_portable(value: object, depth: int) -> None:
    match value:
        case dict() | list() if depth == 0:
            raise wrong("chat_template_kwargs", "nested too deeply")
        case dict():
            for inner in value.values():
                _check_portable(inner, depth - 1)
        case list():
            for inner in value:
                _check_portable(inner, depth - 1)
        case int() if not INT64_MIN <= value <= UINT64_MAX:
            raise wrong("chat_template_kwargs", "an integer has more than 64 bits")
        case _:
            pass
