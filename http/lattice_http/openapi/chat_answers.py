"""What chats and completions answer, and the schemas of what they take."""

from __future__ import annotations

from typing import Any

from lattice_http.openai.chat import ChatBody
from lattice_http.openai.completions import CompletionBody
from lattice_http.openai.tools import NamedTool, Tool

from .fields import FIELDS, RAW
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
