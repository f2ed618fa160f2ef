"""Anthropic's Messages."""

from __future__ import annotations

from lattice_http.anthropic.bodies import CountBody, MessagesBody

from .chat_answers import HELLO, ID, SAID
from .errors import GENERATING
from .fields import ANTHROPIC_FIELDS, ANTHROPIC_RAW
from .headers import ANSWERED, WISHES
from .operation import Answer, Operation, Stream
from .shapes import (
    COUNT,
    NULL,
    TEXT,
    Schema,
    const,
    either,
    listing,
    nullable,
    obj,
    one_of,
    ref,
    said,
)
from .structs import Described

_STOP = one_of("end_turn", "max_tokens", "tool_use", "stop_sequence")
_BLOCKS = {
    "text": {"text": TEXT},
    "thinking": {"thinking": TEXT, "signature": said(TEXT, "Empty.")},
    "tool_use": {"id": TEXT, "name": TEXT, "input": {"type": "object"}},
}
_DELTAS = {
    "text_delta": {"text": TEXT},
    "thinking_delta": {"thinking": TEXT},
    "signature_delta": {"signature": TEXT},
    "input_json_delta": {"partial_json": TEXT},
}
_BLOCK = either(*(obj(type=const(kind), **fields) for kind, fields in _BLOCKS.items()))

ANSWERS: dict[str, Schema] = {
    "AnthropicUsage": obj(
        input_tokens=said(COUNT, "Without what came from the prefix cache."),
        cache_creation_input_tokens=COUNT,
        cache_read_input_tokens=COUNT,
        output_tokens=COUNT,
    ),
    "AnthropicAnswer": obj(
        id=TEXT,
        type=const("message"),
        role=const("assistant"),
        model=TEXT,
        content=listing(_BLOCK),
        stop_reason=nullable(_STOP),
        stop_sequence=nullable(TEXT),
        usage=ref("AnthropicUsage"),
    ),
    "AnthropicCount": obj(input_tokens=COUNT),
}


def described() -> dict[str, Schema]:
    """Return the schemas of this area."""
    bodies = Described("Anthropic", ANTHROPIC_RAW, ANTHROPIC_FIELDS)
    return {**bodies.add(CountBody, MessagesBody), **ANSWERS}


_STREAM = """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1f","type":"message","role":"assistant",\
"model":"SmolLM2-135M-Instruct","content":[],"stop_reason":null,"stop_sequence":null,\
"usage":{"input_tokens":37,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,\
"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Paris"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},\
"usage":{"input_tokens":37,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,\
"output_tokens":8}}

event: message_stop
data: {"type":"message_stop"}

"""
_EVENTS: dict[str, Schema] = {
    "ping": obj(type=const("ping")),
    "message_start": obj(type=const("message_start"), message=ref("AnthropicAnswer")),
    "content_block_start": obj(
        type=const("content_block_start"), index=COUNT, content_block=_BLOCK
    ),
    "content_block_delta": obj(
        type=const("content_block_delta"),
        index=COUNT,
        delta=either(*(obj(type=const(kind), **fields) for kind, fields in _DELTAS.items())),
    ),
    "content_block_stop": obj(type=const("content_block_stop"), index=COUNT),
    "message_delta": obj(
        type=const("message_delta"),
        delta=obj(stop_reason=_STOP, stop_sequence=either(TEXT, NULL)),
        usage=ref("AnthropicUsage"),
    ),
    "message_stop": obj(type=const("message_stop")),
    "error": ref("AnthropicError"),
}

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/messages",
        name="createMessage",
        area="Anthropic",
        title="Answer a message, as Anthropic's API does",
        body=ref("AnthropicMessagesBody"),
        examples={
            "plain": {"model": "auto", "max_tokens": 20, "messages": HELLO},
            "streamed": {
                "model": "auto",
                "max_tokens": 20,
                "stream": True,
                "system": "Answer in one word.",
                "messages": HELLO,
            },
            "tools": {
                "model": "auto",
                "max_tokens": 60,
                "messages": [{"role": "user", "content": "What time is it?"}],
                "tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}],
                "tool_choice": {"type": "any"},
            },
        },
        answers={
            200: Answer(
                "The message.",
                ref("AnthropicAnswer"),
                {
                    "id": "msg_1f",
                    "type": "message",
                    "role": "assistant",
                    "model": ID,
                    "content": [{"type": "text", "text": SAID}],
                    "stop_reason": "end_turn",
                    "stop_sequence": None,
                    "usage": {
                        "input_tokens": 37,
                        "cache_creation_input_tokens": 0,
                        "cache_read_input_tokens": 0,
                        "output_tokens": 8,
                    },
                },
                stream=Stream(
                    "Anthropic's named events, `ping` while there is nothing to say. An answer "
                    "that fails ends with `error`.",
                    _EVENTS,
                    _STREAM,
                ),
                headers=ANSWERED,
            )
        },
        failures=GENERATING,
        headers=WISHES,
        anthropic=True,
    ),
    Operation(
        method="post",
        path="/v1/messages/count_tokens",
        name="countMessageTokens",
        area="Anthropic",
        title="Count the tokens of a message's prompt",
        text="Exactly, in the chat template of the model that would answer.",
        body=ref("AnthropicCountBody"),
        examples={"plain": {"model": "auto", "messages": HELLO}},
        answers={
            200: Answer("The count.", ref("AnthropicCount"), {"input_tokens": 37}, headers=ANSWERED)
        },
        failures=GENERATING,
        headers=WISHES,
        anthropic=True,
    ),
)
