"""The wire between a model actor and its engine process.

A frame is a 4-byte big-endian length and the msgpack of one tagged struct. Commands go down,
reports come up. `rid` is a number the model actor never uses twice; each side ignores frames
for an unknown rid, and every accepted `Gen` or `Embed` gets exactly one terminal report: `End`,
`Refused` or `Err` (the model actor makes one up when the process dies).

The process greets with `Hello`, is told `Load` once, reports `LoadProgress` until `Ready` or
`LoadError`, and lives until `Bye` or the end of the socket.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL = 1
MAX_COMMAND_BYTES = 64 * 1024 * 1024  # a request body is at most 10 MiB; templates may grow it
MAX_REPORT_BYTES = 1024 * 1024  # one step of many streams is a few KiB
HEADER_BYTES = 4


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all frames."""


# --- commands: gateway -> engine --------------------------------------------------------------


class Load(Frame, frozen=True, tag="load"):
    """Load the model of this directory, warm it up and check it for NaN."""

    path: str
    prefill_step_tokens: int  # most prompt tokens of one step, over all prompts, nobody decoding
    max_streams: int
    target_step_ms: float  # 0: at most 2.5 x the measured decode step; else this many ms
    prefix_cache_bytes: int = 0  # most that is kept of prompts and answers; 0: nothing


class Grammar(Frame, frozen=True):
    """What an answer must keep to.

    `kind` is "json_schema", "regex", "choice" (a JSON list of texts) or "grammar" (Lark, GBNF);
    inside the engine also "calls" (Lark of ours).
    """

    kind: str
    text: str
    param: str  # the field to blame


class Gen(Frame, frozen=True, tag="gen"):
    """Generate one answer. Exactly one of `messages`, `text`, `tokens` is set."""

    rid: int
    max_tokens: int
    temperature: float
    messages: list[dict[str, Any]] | None = None
    template_options: dict[str, Any] = {}
    text: str | None = None
    tokens: list[Any] | None = None  # checked by the worker: ints in [0, vocabulary)
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] = []
    context_tokens: int | None = None
    trim: bool = False
    trim_buffer: int = 8
    shorten: bool = False  # lower max_tokens to what the context leaves, instead of refusing
    principal: str = ""  # whose it is: one principal never meets what another one left behind
    presence_penalty: float = 0.0  # 0 is off, as is frequency_penalty 0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0  # 1 is off
    logit_bias: dict[int, float] = {}  # by token; checked by the worker against the vocabulary
    logprobs: int | None = None  # so many likeliest tokens beside each; None: none of it
    grammar: Grammar | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str = "auto"  # or "none", "required"
    tool_name: str = ""  # required: this one
    parallel: bool | None = None  # several calls in one answer; None: not said
    count: str = ""  # "total", "ids": no answer, its `End` tells the tokens of the prompt
    add_special: bool = True  # of `text`: begin with what the tokenizer begins with


class Embed(Frame, frozen=True, tag="embed"):
    """Embed texts, each on its own; `Vectors` follow, and an `End` without text."""

    rid: int
    inputs: list[str | list[int]]
    listed: bool = True  # False: the field is called "input", and not "input[0]"
    dimensions: int | None = None
    truncate: bool = False
    context_tokens: int | None = None  # of one text; None: the model's


class Cancel(Frame, frozen=True, tag="cancel"):
    """Stop this answer between two steps; acknowledged by its `End` with reason ``cancelled``."""

    rid: int


class Ping(Frame, frozen=True, tag="ping"):
    """Is somebody there? Answered by `Pong`."""

    echo: int


class Bye(Frame, frozen=True, tag="bye"):
    """Exit now, with 0."""


Command = Load | Gen | Embed | Cancel | Ping | Bye

# --- reports: engine -> gateway ---------------------------------------------------------------


class Hello(Frame, frozen=True, tag="hello"):
    """The first frame of an engine, before anything heavy is imported."""

    protocol: int
    pid: int


class LoadProgress(Frame, frozen=True, tag="progress"):
    """Something happened in the load; silence for a minute means it hangs."""

    stage: str  # "import", "weights", "tokenizer", "warm-up"


class Ready(Frame, frozen=True, tag="ready"):
    """Loaded, warmed up and checked for NaN."""

    context_tokens: int  # the model's own limit
    vocab: int
    kv_bytes_per_token: int
    resident_bytes: int  # RSS of the process after the warm-up
    load_s: float
    decode_step_s: float  # one stream, measured in the warm-up
    prefill_tokens_per_s: float  # measured in the warm-up
    blas: str = ""  # "openblas", "reference" or "metal"


class LoadError(Frame, frozen=True, tag="load-error"):
    """The load failed; the process exits by itself."""

    text: str
    permanent: bool  # the files are at fault: nothing changes until they do


class Prompt(Frame, frozen=True, tag="prompt"):
    """Prompt tokens read so far, those that were in the prefix cache included."""

    rid: int
    done: int
    total: int
    cached: int | None = None  # tokens that were in the prefix cache; None: it is off
    differs_at: int = 0  # index of the first token that was not there


class TokenLogprob(Frame, frozen=True):
    """How likely the model found a token, and which it found the likeliest."""

    token: bytes  # need not be whole characters
    logprob: float
    top: list[tuple[bytes, float]]


class CallPiece(Frame, frozen=True):
    """The next piece of a tool call; its first one has id and name."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Piece(Frame, frozen=True):
    """Text of one stream from one step."""

    rid: int
    text: str
    tokens: int
    logprobs: list[TokenLogprob] = []  # of these tokens, where they were asked for
    reasoning: str = ""
    calls: list[CallPiece] = []


class Step(Frame, frozen=True, tag="step"):
    """One engine step: what each stream gained. Streams without visible text are left out."""

    number: int
    took_s: float
    decoded: int  # tokens of this step
    prefilled: int  # prompt tokens of this step
    kv_bytes: int  # of all streams and of the prefix cache
    pieces: list[Piece]
    prefix_bytes: int = 0  # of these, the prefix cache's


class End(Frame, frozen=True, tag="end"):
    """Normal end. `text` and `tokens` are the last piece (also what a stop check held back)."""

    rid: int
    reason: str  # "stop", "length", "tool_calls" or "cancelled"
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    text: str = ""
    tokens: int = 0
    ghost_tokens: int = 0  # decoded after the reader thread had taken the Cancel
    trimmed_messages: int = 0
    logprobs: list[TokenLogprob] = []  # of the last piece, less an end-of-sequence token
    reasoning: str = ""  # as `text`
    calls: list[CallPiece] = []
    reasoning_tokens: int = 0  # of the completion
    stop: str = ""  # the stop string that ended it
    prompt_ids: bytes = b""  # of a `Gen` that counts "ids": 4 bytes each, little-endian


class Vectors(Frame, frozen=True, tag="vectors"):
    """The next bytes of all vectors of an `Embed`: float32, little-endian, in its order."""

    rid: int
    content: bytes


class Refused(Frame, frozen=True, tag="refused"):
    """The request itself is at fault; found before prefill (too long, bad ids, bad template)."""

    rid: int
    code: str  # as in OpenAI's error object, "context_length_exceeded"
    text: str
    param: str | None = None


class Err(Frame, frozen=True, tag="err"):
    """This stream failed in the engine, its neighbours did not."""

    rid: int
    kind: str
    text: str


class Pong(Frame, frozen=True, tag="pong"):
    """Answered by the reader thread, so it also comes during a long step."""

    echo: int
    step: int  # steps so far
    busy_s: float  # in the current step; 0 when idle


Report = (
    Hello | LoadProgress | Ready | LoadError | Prompt | Step | End | Vectors | Refused | Err | Pong
)

_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


class BadFrame(Exception):
    """The peer sent something that is no frame of this protocol: give up on it."""


def encode(frame: Command | Report) -> bytes:
    """Return the bytes of one frame, header included."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def decode_command(body: bytes) -> Command:
    """Parse one body; raises `BadFrame`."""
    try:
        return _commands.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None


def decode_report(body: bytes) -> Report:
    """Parse one body; raises `BadFrame`."""
    try:
        return _reports.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None


def body_length(header: bytes, limit: int) -> int:
    """Read the header; raises `BadFrame` beyond *limit* bytes, before anything is allocated."""
    length = int.from_bytes(header, "big")
    if length > limit:
        raise BadFrame(f"a frame of {length} bytes; the limit is {limit}")
    return length
