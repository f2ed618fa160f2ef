"""Chats and completions: OpenAI's oldest routes."""

from __future__ import annotations

from typing import Any

from lattice_http.openai.chat import ChatBody
from lattice_http.openai.completions import CompletionBody
from lattice_http.openai.tools import NamedTool, Tool

from .errors import GENERATING
from .fields import FIELDS, RAW
from .headers import ANSWERED, SWARM, WISHES
from .operation import Answer, Operation, Stream
from .shapes import (
    COUNT,
    NULL,
    NUMBER,
    TEXT,
    UNIX_S,
    WHOLE,
    Schema,
    const,
    either,
    listing,
    mapping,
    maybe,
    nullable,
    obj,
    one_of,
    ref,
    said,
)
from .structs import Described

REASON = one_of("stop", "length", "tool_calls")
CHUNK_REASON = {"enum": ["stop", "length", "tool_calls", "error", None]}
HELLO: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
SAID = "The capital of France is Paris."
ID = "SmolLM2-135M-Instruct"
USAGE: dict[str, Any] = {
    "prompt_tokens": 37,
    "completion_tokens": 8,
    "total_tokens": 45,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}

_ENTRY = {"token": TEXT, "logprob": NUMBER, "bytes": listing(COUNT)}
_REASONING = {
    "reasoning_content": maybe(said(TEXT, "What the model thought.")),
    "reasoning": maybe(said(TEXT, "The same by its other name.")),
}


def described() -> dict[str, Schema]:
    """Return the schemas of this area."""
    bodies = Described(raw=RAW, texts=FIELDS).add(ChatBody, CompletionBody, Tool, NamedTool)
    return {**bodies, **ANSWERS}


ANSWERS: dict[str, Schema] = {
    "Usage": obj(
        prompt_tokens=COUNT,
        completion_tokens=COUNT,
        total_tokens=COUNT,
        prompt_tokens_details=obj(
            cached_tokens=said(COUNT, "Of the prompt, what came from the prefix cache.")
        ),
        completion_tokens_details=obj(reasoning_tokens=COUNT),
    ),
    "CalledTool": obj(
        id=TEXT, type=const("function"), function=obj(name=TEXT, arguments=said(TEXT, "JSON."))
    ),
    "ChatLogprobs": obj(
        content=listing(obj(**_ENTRY, top_logprobs=listing(obj(**_ENTRY)))), refusal=NULL
    ),
    "TextLogprobs": obj(
        tokens=listing(TEXT),
        token_logprobs=listing(NUMBER),
        top_logprobs=listing(mapping(NUMBER)),
        text_offset=listing(COUNT),
    ),
    "ChatMessage": obj(
        role=const("assistant"),
        content=nullable(TEXT),
        refusal=NULL,
        tool_calls=maybe(listing(ref("CalledTool"))),
        **_REASONING,
    ),
    "ChatCompletion": obj(
        id=TEXT,
        object=const("chat.completion"),
        created=UNIX_S,
        model=said(TEXT, "The id of the model that answered; of a swarm `swarm/<winner>`."),
        choices=listing(
            obj(
                index=COUNT,
                message=ref("ChatMessage"),
                logprobs=nullable(ref("ChatLogprobs")),
                finish_reason=REASON,
            )
        ),
        usage=ref("Usage"),
        swarm=maybe(
            either(
                ref("VoteReport"),
                ref("PipelineReport"),
                ref("DebateReport"),
                text="Of a swarm: how it came to this.",
            )
        ),
    ),
    "ChatCompletionChunk": obj(
        id=TEXT,
        object=const("chat.completion.chunk"),
        created=UNIX_S,
        model=TEXT,
        choices=listing(
            obj(
                index=COUNT,
                delta=obj(
                    role=maybe(const("assistant")),
                    content=maybe(nullable(TEXT)),
                    tool_calls=maybe(
                        listing(
                            obj(
                                "The first piece of a call has `id` and `name`.",
                                index=COUNT,
                                id=maybe(TEXT),
                                type=maybe(const("function")),
                                function=obj(name=maybe(TEXT), arguments=TEXT),
                            )
                        )
                    ),
                    **_REASONING,
                ),
                logprobs=nullable(ref("ChatLogprobs")),
                finish_reason=CHUNK_REASON,
            )
        ),
        usage=maybe(nullable(ref("Usage"))),
        error=maybe(said(ref("ErrorObject"), "Only in the last chunk of an answer that failed.")),
        swarm=maybe(said(ref("VoteReport"), "Only in the last chunk of a swarm's answer.")),
        error_details=maybe(ref("SwarmErrorDetails")),
        candidates=maybe(listing(ref("SwarmRow"))),
    ),
    "TextCompletion": obj(
        id=TEXT,
        object=const("text_completion"),
        created=UNIX_S,
        model=TEXT,
        choices=listing(
            obj(
                text=TEXT,
                index=WHOLE,
                logprobs=nullable(ref("TextLogprobs")),
                finish_reason=REASON,
            )
        ),
        usage=ref("Usage"),
    ),
    "TextCompletionChunk": obj(
        id=TEXT,
        object=const("text_completion"),
        created=UNIX_S,
        model=TEXT,
        choices=listing(
            obj(
                text=TEXT,
                index=COUNT,
                logprobs=nullable(ref("TextLogprobs")),
                finish_reason=CHUNK_REASON,
            )
        ),
        usage=maybe(nullable(ref("Usage"))),
        error=maybe(ref("ErrorObject")),
    ),
}

_CHUNKS = """\
data: {"id":"chatcmpl_1f","object":"chat.completion.chunk","created":1770000000,\
"model":"SmolLM2-135M-Instruct","choices":[{"index":0,"delta":{"role":"assistant",\
"content":"The"},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl_1f","object":"chat.completion.chunk","created":1770000000,\
"model":"SmolLM2-135M-Instruct","choices":[{"index":0,"delta":{},"logprobs":null,\
"finish_reason":"stop"}]}

: resolve_ms=0 queue_ms=1 load_ms=0 upstream_ms=210 ttft_ms=92 total_ms=212

data: [DONE]

"""
_TEXT_CHUNKS = """\
data: {"id":"cmpl_1f","object":"text_completion","created":1770000000,\
"model":"SmolLM2-135M-Instruct","choices":[{"text":"Paris","index":0,"logprobs":null,\
"finish_reason":null}]}

data: {"id":"cmpl_1f","object":"text_completion","created":1770000000,\
"model":"SmolLM2-135M-Instruct","choices":[{"text":"","index":0,"logprobs":null,\
"finish_reason":"stop"}]}

data: [DONE]

"""
_STREAM_TEXT = (
    "`data:` lines, each with the JSON of one chunk, and at last `data: [DONE]`, after an error "
    "too: that is a chunk with `finish_reason` \"error\" and `error`. Lines that begin with `:` "
    "are comments: what is waited for, and at the end the times."
)
_WEATHER: dict[str, Any] = {
    "type": "object",
    "required": ["city", "unit"],
    "properties": {
        "city": {"type": "string", "maxLength": 30},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
}

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/chat/completions",
        name="createChatCompletion",
        area="Chats",
        title="Answer a chat",
        text="With the name of a swarm as `model` (`swarmCouncil`, `swarm/fanout`) several models "
        "are asked; see `swarm`.",
        body=ref("ChatBody"),
        examples={
            "plain": {"model": "role:fast,auto", "messages": HELLO, "max_tokens": 20},
            "streamed": {
                "model": "auto",
                "messages": HELLO,
                "max_tokens": 20,
                "stream": True,
                "stream_options": {"include_usage": True},
            },
            "schema": {
                "model": "auto",
                "messages": HELLO,
                "max_tokens": 60,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "capital",
                        "schema": {
                            "type": "object",
                            "properties": {"city": {"type": "string", "maxLength": 20}},
                            "required": ["city"],
                        },
                    },
                },
            },
            "tools": {
                "model": "auto",
                "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
                "max_tokens": 60,
                "tool_choice": "required",
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "get_weather", "parameters": _WEATHER},
                    }
                ],
            },
            "sampling": {
                "model": "auto",
                "messages": HELLO,
                "max_tokens": 8,
                "temperature": 0.7,
                "top_p": 0.9,
                "top_k": 40,
                "seed": 7,
                "n": 2,
                "stop": ["\n\n"],
                "logit_bias": {"5": -100},
                "queue": {"priority": 1, "max_queue_wait_ms": 20000},
            },
            "swarm": {
                "model": "swarmCouncil",
                "messages": HELLO,
                "max_tokens": 20,
                "swarm": {"models": [{"model": "auto", "samples": 3}], "strategy": "majority"},
            },
        },
        answers={
            200: Answer(
                "The answer.",
                ref("ChatCompletion"),
                {
                    "id": "chatcmpl_1f",
                    "object": "chat.completion",
                    "created": 1770000000,
                    "model": ID,
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": SAID, "refusal": None},
                            "logprobs": None,
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": USAGE,
                },
                stream=Stream(
                    _STREAM_TEXT + " Of a swarm with `events` the named events stand between.",
                    {
                        "data": ref("ChatCompletionChunk"),
                        "session": ref("SwarmSessionEvent"),
                        "branch": ref("SwarmBranchEvent"),
                        "branch_done": ref("SwarmRow"),
                        "verdict": ref("SwarmVerdict"),
                    },
                    _CHUNKS,
                ),
                headers=(*ANSWERED, *SWARM),
            ),
            502: Answer(
                "Another server failed; or, with code `swarm_failed`, all branches of a swarm.",
                ref("SwarmError"),
                headers=("X-Swarm-Session", "X-Swarm-Strategy", "X-Swarm-Error-Kinds"),
            ),
        },
        failures=GENERATING,
        headers=(*WISHES, "X-Swarm-Events"),
    ),
    Operation(
        method="post",
        path="/v1/completions",
        name="createCompletion",
        area="Chats",
        title="Continue prompts",
        text="Several prompts are several choices. A text goes through the chat template as one "
        "message of the user; a list of token ids is taken as it is.",
        body=ref("CompletionBody"),
        examples={
            "plain": {"model": "auto", "prompt": "The capital of France is", "max_tokens": 8},
            "several": {"model": "auto", "prompt": ["one", "two"], "max_tokens": 4, "n": 2},
            "tokens": {"model": "auto", "prompt": [504, 3575, 282], "max_tokens": 4},
            "streamed": {"model": "auto", "prompt": "Once", "max_tokens": 4, "stream": True},
        },
        answers={
            200: Answer(
                "The answers.",
                ref("TextCompletion"),
                {
                    "id": "cmpl_1f",
                    "object": "text_completion",
                    "created": 1770000000,
                    "model": ID,
                    "choices": [
                        {"text": "Paris.", "index": 0, "logprobs": None, "finish_reason": "stop"}
                    ],
                    "usage": USAGE,
                },
                stream=Stream(_STREAM_TEXT, {"data": ref("TextCompletionChunk")}, _TEXT_CHUNKS),
                headers=ANSWERED,
            )
        },
        failures=GENERATING,
        headers=WISHES,
    ),
)
