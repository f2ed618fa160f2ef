"""What the bodies of ``/v1/chat/completions`` and ``/v1/completions`` have in common.

Every field of a body has one of three fates: it is honoured; it is refused by name, when we
know it, it would change the answer and we cannot do it; or its name is listed as ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Count, Grammar, Sampling, ToolUse

from .bodies import (
    INT64_MAX,
    INT64_MIN,
    decode_part,
    fields_of,
    is_empty,
    is_null,
    unknown_names,
    unsupported,
    wrong,
)
from .grammars import ChoiceTexts, GrammarText, ResponseFormat, read_grammar
from .wishes import Headers, QueueBody, Wishes, read_wishes

MAX_MODEL_CHARS = 4096  # a priority list of a hundred long names
MAX_STOP_CHARS = 1024
MAX_TOKENS = 2**31
MAX_CHOICES = 16  # `n`: each is a ticket of its own
MAX_BIASES = 1024  # tokens; each is work in every step of the answer
SMALLEST_TOP_P = 1e-6  # below the likeliest token's share in any vocabulary: only it is left

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Repetition = Annotated[float, Meta(ge=0.01, le=100)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
StopText = Annotated[str, Meta(min_length=1, max_length=MAX_STOP_CHARS)]
TokenLimit = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Choices = Annotated[int, Meta(ge=1, le=MAX_CHOICES)]


_BIAS: msgspec.json.Decoder[dict[str, Bias]] = msgspec.json.Decoder(dict[str, Bias])
_TOKEN_ID = re.compile(r"[0-9]{1,9}")


class StreamOptions(msgspec.Struct, frozen=True):
    """The ``stream_options`` object."""

    include_usage: bool | None = None


class ModelBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of both bodies. A field that is not here is listed as ignored."""

    model: Annotated[str, Meta(max_length=MAX_MODEL_CHARS)] | None = None
    max_tokens: TokenLimit | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Repetition | None = None
    logit_bias: Raw = Raw()
    n: Choices | None = None
    response_format: ResponseFormat | None = None
    guided_json: Raw = Raw()
    guided_regex: GrammarText | None = None
    guided_choice: ChoiceTexts | None = None
    guided_grammar: GrammarText | None = None
    best_of: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    queue: QueueBody | None = None
    swarm: Raw = Raw()

    tools: Raw = Raw()  # of chats, as is the next
    tool_choice: Raw = Raw()

    # Known, and not honoured: neutral values pass, others are refused (`_refuse_shared`).
    suffix: str | None = None
    echo: bool | None = None
    functions: Raw = Raw()
    function_call: Raw = Raw()


@attrs.frozen(kw_only=True)
class ModelRequest:
    """One validated request. None: not said, so profile and settings decide."""

    spec: str | None  # the `model` field, see the grammar of specs
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    n: int = 1  # answers to each prompt
    grammar: Grammar | None = None
    tool_use: ToolUse = attrs.field(factory=ToolUse)
    logprobs: int | None = None  # tell them, with so many likeliest tokens beside each
    stream: bool = False
    include_usage: bool = False  # the stream ends with a chunk of usage
    wishes: Wishes = attrs.field(factory=Wishes)
    ignored: tuple[str, ...] = ()  # fields that have no effect, as sent: header them encoded
    swarm: bytes | None = None  # JSON of the `swarm` object, known to be an object
    shorten: bool = False  # max_tokens may be lowered to what the context leaves
    trim: bool | None = None  # drop the oldest turns where prompt and answer do not fit
    count: Count = ""  # no answer is wanted, only the tokens of the prompt
    own_names: Mapping[str, str] = attrs.field(factory=dict[str, str])  # of a chat's fields here

    def sampling(self, defaults: Sampling) -> Sampling:
        """Return how tokens are drawn: what the caller said over *defaults*."""
        top_p = defaults.top_p if self.top_p is None else self.top_p
        top_k = defaults.top_k if self.top_k is None else self.top_k
        if top_p < SMALLEST_TOP_P:
            # In float32 a sum of probabilities never exceeds 1 - 1e-9, so a filter on it would
            # drop every token. This is what such a top_p means.
            top_p, top_k = 1.0, 1
        return Sampling(
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=defaults.min_p if self.min_p is None else self.min_p,
            seed=defaults.seed if self.seed is None else self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
        )


def shared_fields(
    body: ModelBody, sent: dict[str, Raw], headers: Headers, unix_now: float
) -> dict[str, Any]:
    """Return the arguments that every `ModelRequest` takes. Raises `BadRequest`."""
    _refuse_shared(body)
    if body.stream_options is not None and not body.stream:
        raise wrong("stream_options", "only allowed when stream is true")
    ignored = list(unknown_names(sent, type(body)))
    for name, form in (("queue", QueueBody), ("stream_options", StreamOptions)):
        if name in sent and not is_null(sent[name]):
            ignored += unknown_names(fields_of(sent[name], name), form, f"{name}.")
    is_empty(body.swarm, b"{}", "swarm")  # refuses what is no object
    return {
        "spec": body.model,
        "max_tokens": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "seed": body.seed,
        "presence_penalty": body.presence_penalty or 0.0,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "repetition_penalty": body.repetition_penalty or 1.0,
        "logit_bias": _bias(body.logit_bias),
        "stop": (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        "grammar": read_grammar(
            body.response_format,
            body.guided_json,
            body.guided_regex,
            body.guided_choice,
            body.guided_grammar,
        ),
        "n": body.n or 1,
        "stream": bool(body.stream),
        "include_usage": bool(body.stream_options and body.stream_options.include_usage),
        "wishes": read_wishes(body.queue, headers, unix_now),
        "ignored": tuple(ignored),
        "swarm": None if is_null(body.swarm) else bytes(body.swarm),
    }


def _bias(raw: Raw) -> tuple[tuple[int, float], ...]:
    """Decode ``logit_bias``: token ids as strings. The engine knows which ids there are."""
    name = "logit_bias"
    if is_empty(raw, b"{}", name):
        return ()
    given = decode_part(raw, _BIAS, name)
    if len(given) > MAX_BIASES:
        raise wrong(name, f"more than {MAX_BIASES} tokens")
    bias: dict[int, float] = {}
    for key, value in given.items():
        if not _TOKEN_ID.fullmatch(key):
            raise wrong(name, "a key is no token id (a whole number, in a string)")
        bias[int(key)] = value
    return tuple(bias.items())


def _refuse_shared(body: ModelBody) -> None:
    if body.best_of not in (None, body.n or 1):  # as many as are returned: nothing to choose
        raise unsupported("best_of")
    if body.suffix:
        raise unsupported("suffix")
    if body.echo:
        raise unsupported("echo")
    if not is_empty(body.functions, b"[]", "functions"):
        raise unsupported("functions", "not supported any more; send tools")
    if not is_null(body.function_call) and bytes(body.function_call) not in (b'"none"', b'"auto"'):
        raise unsupported("function_call", "not supported any more; send tool_choice")
