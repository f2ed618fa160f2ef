"""``POST /v1/embeddings``: its body, and its answer."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import attrs
import msgspec
import trio
from msgspec import Meta, Raw

from lattice_actors.catalog.entry import Kind
from lattice_actors.errors import QueueRefused
from lattice_actors.generation import Embed, FinishReason
from lattice_http.exchange import Exchange
from lattice_http.json_bytes import encode
from lattice_http.prompted import Prompted

from .bodies import decode, fields_of, is_null, unknown_names, unsupported
from .inputs import bytes_of, read_inputs
from .request import MAX_MODEL_CHARS, ModelRequest
from .wishes import Headers, QueueBody, read_wishes

MAX_INPUTS = 2048  # as at OpenAI
MAX_DIMENSIONS = 2**16  # no model has vectors as long; which lengths it has, the model says
ROWS_AT_ONCE = 64  # vectors written between two checkpoints: others have their turn


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that have an effect; others are listed as ignored."""

    model: Annotated[str, Meta(max_length=MAX_MODEL_CHARS)] | None = None
    input: Raw = Raw()
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None
    truncate: bool | None = None  # ours, as at Ollama: cut what is too long
    queue: QueueBody | None = None
    stream: bool | None = None  # refused: there is nothing to stream


_BODY: msgspec.json.Decoder[EmbeddingBody] = msgspec.json.Decoder(EmbeddingBody)


@attrs.frozen(kw_only=True)
class EmbeddingRequest(ModelRequest):
    """One request for vectors. It generates a single token, as admission counts."""

    embed: Embed
    base64: bool  # how vectors are written


def parse_embedding(body: bytes, headers: Headers, unix_now: float) -> EmbeddingRequest:
    """Check one body that arrived at *unix_now* (Unix time, seconds).

    Raises:
        BadRequest: with the `param` to blame.
    """
    form, sent = decode(body, _BODY)
    if form.stream:
        raise unsupported("stream", "embeddings come at once")
    ignored = list(unknown_names(sent, EmbeddingBody))
    if "queue" in sent and not is_null(sent["queue"]):
        ignored += unknown_names(fields_of(sent["queue"], "queue"), QueueBody, "queue.")
    inputs, listed = read_inputs(form.input, "input", MAX_INPUTS)
    return EmbeddingRequest(
        spec=form.model,
        max_tokens=1,
        wishes=read_wishes(form.queue, headers, unix_now),
        ignored=tuple(ignored),
        embed=Embed(inputs, listed, form.dimensions, bool(form.truncate)),
        base64=form.encoding_format == "base64",
    )


def of_embedding(parsed: EmbeddingRequest) -> Prompted:
    """Return a request for vectors as the scheduler needs it."""
    size = sum(map(bytes_of, parsed.embed.inputs))
    return Prompted(parsed, (parsed.embed,), (size,), kind=Kind.EMBEDDING)


async def embedding_list(parsed: EmbeddingRequest, exchange: Exchange) -> bytes:
    """Return the body of the answer, when it has all come.

    Raises:
        QueueRefused: its time was over before.
    """
    if exchange.finished[0].reason is not FinishReason.STOP:
        raise QueueRefused("the time for the embeddings was over", code="deadline_exceeded")
    # Little-endian float32: what the engine sends, what OpenAI's base64 holds, and what every
    # machine that MLX runs on has. numpy would cost the gateway a tenth of a second to start.
    numbers = memoryview(exchange.routed.tickets[0].stream.vectors).cast("f")
    count = len(parsed.embed.inputs)
    width = len(numbers) // count
    pieces = []
    for index in range(count):
        if index % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
            await trio.lowlevel.checkpoint()
        vector = numbers[index * width : (index + 1) * width]
        written = base64.b64encode(vector.tobytes()).decode() if parsed.base64 else vector.tolist()
        pieces.append(encode({"object": "embedding", "index": index, "embedding": written}))
    tokens = exchange.usage.prompt_tokens
    rest = {"model": exchange.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return b'{"object":"list","data":[' + b",".join(pieces) + b"]," + encode(rest)[1:]
