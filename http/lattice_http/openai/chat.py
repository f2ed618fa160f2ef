"""The body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Chat, JsonObject
from lattice_http.prompted import Prompted

from .bodies import decode, is_null, unsupported, wrong
from .messages import Message, read_turns
from .request import ModelBody, ModelRequest, TokenLimit, shared_fields
from .template_options import Effort, read_template_options, with_effort
from .tools import Tools, read_tools
from .wishes import Headers

MAX_TOP_LOGPROBS = 20  # as at OpenAI


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


@attrs.frozen(kw_only=True)
class ChatRequest(ModelRequest):
    """A conversation to continue; `messages` and what is said of them are those of `Turns`."""

    messages: tuple[JsonObject, ...]
    messages_json: bytes = attrs.field(repr=False)  # as sent
    text_bytes: int  # of all contents, in UTF-8
    image_param: str | None = None  # the first image, "messages[0].content[1]"
    template_options: JsonObject = attrs.field(factory=dict[str, Any])
    tools: tuple[JsonObject, ...] = ()
    tools_bytes: int = 0  # of JSON

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

    turns = read_turns(form.messages)
    return ChatRequest(
        messages=turns.messages,
        messages_json=bytes(sent["messages"]),
        text_bytes=turns.text_bytes,
        image_param=turns.image_param,
        logprobs=_logprobs(form),
        template_options=with_effort(
            read_template_options(form.chat_template_kwargs), form.reasoning_effort
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


def of_chat(parsed: ChatRequest) -> Prompted:
    """Return a chat as the scheduler needs it."""
    if parsed.swarm is not None:  # it belongs to a swarm's name, and this is none
        parsed = attrs.evolve(parsed, ignored=(*parsed.ignored, "swarm"))
    return Prompted(
        request=parsed,
        prompts=(parsed.prompt(),),
        prompt_bytes=(parsed.text_bytes + parsed.tools_bytes,),
        messages=parsed.messages,
        image_param=parsed.image_param,
    )
