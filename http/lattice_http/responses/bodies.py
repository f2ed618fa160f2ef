"""The body of ``POST /v1/responses``, checked and brought into the form of a chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Grammar, JsonObject
from lattice_http.json_bytes import encode
from lattice_http.openai.bodies import (
    decode,
    is_null,
    unknown_names,
    unsupported,
    wrong,
)
from lattice_http.openai.chat import ChatRequest
from lattice_http.openai.grammars import schema_grammar
from lattice_http.openai.request import MAX_MODEL_CHARS, TokenLimit
from lattice_http.openai.template_options import Effort
from lattice_http.openai.wishes import Headers, read_wishes

from .callees import Callees
from .choice import chosen_tools
from .conversation import Conversation
from .items import MAX_ITEMS, Item, read_input
from .tools import Toolbox

MAX_ID_CHARS = 64

# Known, and refused unless they say nothing: they would change the answer.
REFUSED = ("conversation", "moderation", "prompt", "context_management", "background_options")


# What a chat's fields are called here. Places inside of the turns are not those of the items.
OWN_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "chat_template_kwargs": "reasoning.effort",
    "response_format": "text.format",
}


class Reasoning(msgspec.Struct, frozen=True):
    """The ``reasoning`` object."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None  # its old name


class Format(msgspec.Struct, frozen=True):
    """The ``text.format`` object. A schema is kept to, strict or not."""

    type: Literal["text", "json_object", "json_schema"]
    schema: Raw = Raw()
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class TextBody(msgspec.Struct, frozen=True):
    """The ``text`` object."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


Key = Annotated[str, Meta(max_length=64)]
Value = Annotated[str, Meta(max_length=512)]


class ResponsesBody(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request. A field that is not here is listed as ignored."""

    input: Raw
    model: Annotated[str, Meta(max_length=MAX_MODEL_CHARS)] | None = None
    instructions: str | None = None
    max_output_tokens: TokenLimit | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    tools: Raw = Raw()
    tool_choice: Raw = Raw()
    parallel_tool_calls: bool | None = None
    text: TextBody | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: Annotated[str, Meta(max_length=MAX_ID_CHARS)] | None = None
    metadata: Annotated[dict[Key, Value], Meta(max_length=16)] | None = None
    include: Annotated[list[str], Meta(max_length=32)] | None = None

    # Known, and not honoured: neutral values pass.
    background: bool | None = None
    top_logprobs: int | None = None
    conversation: Raw = Raw()
    moderation: Raw = Raw()
    prompt: Raw = Raw()
    context_management: Raw = Raw()
    background_options: Raw = Raw()


_BODY: msgspec.json.Decoder[ResponsesBody] = msgspec.json.Decoder(ResponsesBody)


@attrs.frozen
class ResponsesRequest:
    """One request: its chat, and what the answer says of it again."""

    chat: ChatRequest
    items: Sequence[Item]  # the whole input, that of the responses before it too
    store: bool
    summary: bool  # reasoning is told as its summary
    callees: Callees  # what a call in the chat is called here
    echo: JsonObject  # fields of the response that only repeat the request


@attrs.frozen
class Draft:
    """A body that is checked as far as it can be alone."""

    form: ResponsesBody
    items: Sequence[Item]
    sent: dict[str, Raw] = attrs.field(repr=False)

    @property
    def previous(self) -> str | None:
        """The response that it goes on from."""
        return self.form.previous_response_id


def parse_responses(body: bytes) -> Draft:
    """Check one body as far as it can be alone. Raises `BadRequest`, which names the field."""
    form, sent = decode(body, _BODY)
    for name in REFUSED:
        raw: Raw = getattr(form, name)
        if not is_null(raw) and bytes(raw) != b"[]":
            raise unsupported(name)
    if form.background:
        raise unsupported("background", "answers are not made in the background")
    if form.top_logprobs:
        raise unsupported("top_logprobs")
    return Draft(form, read_input(form.input), sent)


def complete(
    draft: Draft,
    before: Sequence[bytes],
    headers: Headers,
    unix_now: float,
    most_bytes: int = 10 * 1024 * 1024,
) -> ResponsesRequest:
    """Return the request that goes on from the items *before*. Raises `BadRequest`.

    The whole conversation is bounded like one body, by *most_bytes*: the engine takes no more.
    Instructions are of one response alone, and so are tools; both have to be sent again.
    """
    form = draft.form
    earlier = [Item(kept, "previous_response_id") for kept in before]
    items = [*earlier, *draft.items]
    if earlier and (len(items) > MAX_ITEMS or sum(len(i.json) for i in items) > most_bytes):
        reason = f"the conversation is larger than {most_bytes} bytes or {MAX_ITEMS} items"
        raise wrong("previous_response_id", reason)
    box = Toolbox()
    box.read(form.tools)
    said = Conversation.of(form.instructions, items, box)
    tools = chosen_tools(box, form.tool_choice, form.parallel_tool_calls)
    ignored = [*unknown_names(draft.sent, ResponsesBody), *box.ignored]
    ignored += [f"include.{name}" for name in form.include or ()]
    if form.text is not None and form.text.verbosity is not None:
        ignored.append("text.verbosity")
    if form.parallel_tool_calls is not None and not tools.given:
        ignored.append("parallel_tool_calls")
    reasoning = form.reasoning or Reasoning()
    options: dict[str, Any] = {}
    if reasoning.effort is not None:
        options["reasoning_effort"] = reasoning.effort
        options["enable_thinking"] = reasoning.effort != "none"
    chat = ChatRequest(
        spec=form.model,
        messages=tuple(said.turns),
        messages_json=encode(said.source),
        text_bytes=said.text_bytes,
        image_param=said.image_param,
        template_options=options,
        tools=tools.given,
        tools_bytes=tools.size,
        tool_use=tools.use,
        grammar=_grammar(form),
        max_tokens=form.max_output_tokens,
        temperature=form.temperature,
        top_p=form.top_p,
        stream=bool(form.stream),
        trim=None if form.truncation is None else form.truncation == "auto",
        wishes=read_wishes(None, headers, unix_now),
        ignored=tuple(ignored),
        own_names=OWN_NAMES,
    )
    summary = reasoning.summary or reasoning.generate_summary
    echo = {
        "instructions": form.instructions,
        "max_output_tokens": form.max_output_tokens,
        "metadata": form.metadata or {},
        "parallel_tool_calls": form.parallel_tool_calls is not False,
        "previous_response_id": form.previous_response_id,
        "reasoning": {"effort": reasoning.effort, "summary": summary},
        "text": {"format": _shown_format(form)},
        "tool_choice": "auto" if is_null(form.tool_choice) else form.tool_choice,
        "tools": box.shown,
        "truncation": form.truncation or "disabled",
    }
    kept = form.store is not False
    return ResponsesRequest(chat, items, kept, summary is not None, box.callees, echo)


def _grammar(form: ResponsesBody) -> Grammar | None:
    wanted, where = form.text.format if form.text is not None else None, "text.format"
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Grammar("json_schema", '{"type":"object"}', where)
    if is_null(wanted.schema):
        raise wrong(f"{where}.schema", "required with this type")
    return schema_grammar(wanted.schema, f"{where}.schema", where)


def _shown_format(form: ResponsesBody) -> dict[str, Any]:
    wanted = form.text.format if form.text is not None else None
    if wanted is None or wanted.type != "json_schema":
        return {"type": "text" if wanted is None else wanted.type}
    return {
        "type": wanted.type,
        "name": wanted.name or "",
        "description": wanted.description,
        "schema": wanted.schema,
        "strict": bool(wanted.strict),
    }
