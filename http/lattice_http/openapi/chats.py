"""Chats and completions: OpenAI's oldest routes."""

from __future__ import annotations

from typing import Any

from .chat_answers import HELLO, ID, SAID, USAGE
from .errors import GENERATING
from .headers import ANSWERED, SWARM, WISHES
from .operation import Answer, Operation, Stream
from .shapes import ref

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
    'too: that is a chunk with `finish_reason` "error" and `error`. Lines that begin with `:` '
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
