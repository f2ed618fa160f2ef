"""What a model is asked to generate, and what comes back, whatever the backend. Values only."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

JsonObject = Mapping[str, Any]


@attrs.frozen
class Chat:
    """A conversation, for the model's own chat template. Text parts are already one string."""

    messages: tuple[JsonObject, ...]  # {"role": str, "content": str | None, ...}
    template_options: JsonObject = attrs.field(factory=dict[str, Any])
    tools: tuple[JsonObject, ...] = ()  # {"type": "function", "function": {...}}
    source: bytes = attrs.field(default=b"", repr=False)  # JSON of the messages as sent, images too


@attrs.frozen
class Text:
    """Text to continue as it is, without a template."""

    text: str
    add_special: bool = True  # begin with what the tokenizer begins with


@attrs.frozen
class Tokens:
    """Raw token ids to continue; the worker checks them against the vocabulary."""

    ids: tuple[int, ...]


@attrs.frozen
class Embed:
    """Texts to be embedded, each on its own. Tokens are taken as they are."""

    inputs: tuple[Text | Tokens, ...]
    listed: bool = True  # False: the caller sent one, not a list of one
    dimensions: int | None = None  # shorten the vectors to so many numbers
    truncate: bool = False  # cut what is too long instead of refusing it


Prompt = Chat | Text | Tokens | Embed

Count = Literal["", "total", "ids"]  # what is told of a prompt that nobody answers


@attrs.frozen
class Sampling:
    """How the next token is drawn. ``None`` seed: a random key of the request's own."""

    temperature: float = 0.7  # 0 is greedy
    top_p: float = 1.0  # (0, 1]; 1 is off
    top_k: int = 0  # 0 is off
    min_p: float = 0.0  # [0, 1]; 0 is off
    seed: int | None = None
    presence_penalty: float = 0.0  # [-2, 2]; of the answer's tokens, as is the next
    frequency_penalty: float = 0.0  # [-2, 2]
    repetition_penalty: float = 1.0  # > 0; of the tokens of prompt and answer; 1 is off
    logit_bias: tuple[tuple[int, float], ...] = ()  # what is added to the logits of tokens


@attrs.frozen
class Grammar:
    """What an answer must keep to. The worker compiles it, and refuses what is wrong."""

    kind: Literal["json_schema", "regex", "choice", "grammar"]
    text: str  # a schema; a regular expression; a JSON list of texts; Lark or GBNF
    param: str  # the field that asks for it


@attrs.frozen
class ToolUse:
    """How an answer may call the tools of its `Chat`."""

    choice: Literal["none", "auto", "required"] = "auto"
    name: str = ""  # the one it has to call, where it has to; "": any
    parallel: bool | None = None  # several calls in one answer; None: not said


@attrs.frozen
class Job:
    """One answer of one model."""

    prompt: Prompt
    max_tokens: int  # ceiling of generated tokens, >= 1
    shorten: bool = False  # max_tokens was not asked for: less is fine where the context ends
    sampling: Sampling = Sampling()
    logprobs: int | None = None  # tell them, with so many likeliest tokens; None: do not
    grammar: Grammar | None = None
    tool_use: ToolUse = ToolUse()
    stop: tuple[str, ...] = ()
    context_tokens: int | None = None  # prompt + max_tokens + trim_buffer must fit; None: model's
    trim: bool = False  # over budget: drop the oldest turns instead of refusing
    trim_buffer: int = 8  # tokens kept free beside prompt and answer
    principal: str = ""  # whose it is; prefixes are reused only among requests of the same
    count: Count = ""  # no answer: the tokens of the prompt are told at once, however many


class FinishReason(enum.Enum):
    """Why an answer ended."""

    STOP = "stop"  # end-of-sequence token or stop string
    LENGTH = "length"  # max_tokens, context or GENERATION_TIMEOUT
    TOOL_CALLS = "tool_calls"  # it ended by itself, and it calls tools
    CANCELLED = "cancelled"  # its reader left


@attrs.frozen
class Usage:
    """Tokens fed in and generated, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt, from a prefix cache
    reasoning_tokens: int = 0  # of the completion


@attrs.frozen
class Prefill:
    """Progress of reading the prompt, in tokens."""

    done: int
    total: int
    cached: int | None = None  # were in the prefix cache; None: there is none
    differs_at: int = 0  # index of the first token that was not there


@attrs.frozen
class TokenLogprob:
    """A token of an answer: how likely the model found it, and what it found the likeliest."""

    token: bytes  # need not be whole characters
    logprob: float  # natural, of the model alone: before penalties, grammar and temperature
    top: Sequence[tuple[bytes, float]] = ()  # the likeliest first


@attrs.frozen
class CallPiece:
    """The next piece of a tool call. The first one of a call has its id and name."""

    index: int  # which call of the answer, from 0
    id: str = ""
    name: str = ""
    arguments: str = ""  # JSON text; all pieces of one call together are an object


@attrs.frozen
class Delta:
    """The next piece of the answer. `tokens` may be 0 when text was held back and flushed.

    Inside one piece reasoning comes before text, and text before calls.
    """

    text: str
    tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()  # where the job asks; of an end of sequence none
    reasoning: str = ""
    calls: tuple[CallPiece, ...] = ()

    def joined(self, later: Delta) -> Delta:
        """Return this piece and *later* as one."""
        return Delta(
            self.text + later.text,
            self.tokens + later.tokens,
            self.logprobs + later.logprobs,
            self.reasoning + later.reasoning,
            self.calls + later.calls,
        )


@attrs.frozen
class Vectors:
    """The embedding of the next input, or of several."""

    content: bytes = attrs.field(repr=False)  # little-endian float32


@attrs.frozen
class Finish:
    """The end of the answer; nothing follows."""

    reason: FinishReason
    usage: Usage
    trimmed_messages: int = 0  # how many turns were dropped to fit the context
    stop: str = ""  # the stop string that ended it
    prompt_ids: tuple[int, ...] = ()  # where the job counts "ids"
