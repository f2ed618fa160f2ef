"""Embeddings of an OpenAI-compatible server: what asks for them, and what comes back. Pure.

Vectors are asked for as base64, which is a third of the text and exact; a server that sends
numbers all the same is read as well. What the caller sees is written anew, in the form it wished.
"""

from __future__ import annotations

import array
import base64
import binascii
import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import msgspec

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Embed, Finish, FinishReason, Text, Usage, Vectors

from .faults import Blame, Fault, WireFault, garbage

EMBEDDINGS_PATH = "/v1/embeddings"
NUMBER_BYTES = 4  # a float32

# For an answer that is no flood: 4096 numbers of 24 characters for each input, and some.
HEAD_BYTES = 1024 * 1024
BYTES_PER_INPUT = 128 * 1024
LIFE_BYTES = 64 * 1024  # so many bytes are a sign of life: a drip of single ones is none


def body_of(embed: Embed, model: str, kind: str) -> bytes:
    """Return the body that asks a server of this *kind* for vectors.

    Raises:
        BadRequest: it cannot be asked to cut what is too long.
    """
    inputs = [one.text if isinstance(one, Text) else one.ids for one in embed.inputs]
    body: dict[str, Any] = {
        "model": model,
        "input": inputs if embed.listed else inputs[0],
        "encoding_format": "base64",
    }
    if embed.dimensions is not None:
        body["dimensions"] = embed.dimensions
    if embed.truncate:
        body |= _truncate(kind)
    return msgspec.json.encode(body)


def _truncate(kind: str) -> dict[str, Any]:
    if kind == "lattice":
        return {"truncate": True}
    if kind == "vllm":
        return {"truncate_prompt_tokens": -1}  # at the model's limit
    raise BadRequest(
        "truncate: the server that would answer has no such field",
        code="unsupported_parameter",
        param="truncate",
    )


class _Item(msgspec.Struct, gc=False):
    embedding: msgspec.Raw
    index: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Whole(msgspec.Struct, gc=False):
    data: list[_Item]
    usage: _Usage | None = None


_WHOLE: msgspec.json.Decoder[_Whole] = msgspec.json.Decoder(_Whole)
_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
_NUMBERS: msgspec.json.Decoder[list[float]] = msgspec.json.Decoder(list[float])


@attrs.define
class EmbeddingReader:
    """Feed it the bytes of one answer; the vectors come at its end, in the order of the inputs."""

    upstream: str
    embed: Embed
    prompt_tokens: int = 0  # what is told where the server does not: an estimate
    done: bool = attrs.field(init=False, default=False)
    _whole: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def signs_of_life(self) -> int:
        """Grows with the first byte, and then slower."""
        return -(-len(self._whole) // LIFE_BYTES)

    def feed(self, data: bytes) -> list[Vectors | Finish]:
        """Keep *data*. Raises WireFault: it is too much."""
        self._whole += data
        most = HEAD_BYTES + BYTES_PER_INPUT * len(self.embed.inputs)
        if len(self._whole) > most:
            raise garbage(self.upstream, f"sent embeddings of more than {most} bytes")
        return []

    def end(self) -> Iterator[Vectors | Finish]:
        """Yield the vectors one by one, since thousands take a while, and then the `Finish`.

        Raises:
            WireFault: these are not the vectors that were asked for.
        """
        try:
            whole = _WHOLE.decode(self._whole)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise garbage(
                self.upstream, f"sent something that is no list of embeddings: {error}"
            ) from None
        width = 0
        for item in self._in_order(whole.data):
            vector = self._vector(item.embedding)
            width = width or len(vector)
            self._check_width(len(vector), width)
            yield Vectors(vector)
        usage = whole.usage or _Usage()
        told = usage.prompt_tokens or usage.total_tokens or 0
        self.done = True
        yield Finish(FinishReason.STOP, Usage(told if told > 0 else self.prompt_tokens, 0))

    def _in_order(self, items: Sequence[_Item]) -> list[_Item]:
        asked = len(self.embed.inputs)
        if len(items) != asked:
            raise garbage(self.upstream, f"sent {len(items)} embeddings for {asked} inputs")
        placed = {
            place if item.index is None else item.index: item for place, item in enumerate(items)
        }
        if placed.keys() != set(range(asked)):
            raise garbage(
                self.upstream, "sent embeddings whose indexes are not those of the inputs"
            )
        return [placed[place] for place in range(asked)]

    def _vector(self, raw: msgspec.Raw) -> bytes:
        """Return one as little-endian float32, as base64 has it, and every machine of MLX's."""
        try:
            if bytes(memoryview(raw)[:1]) == b'"':
                numbers = array.array("f", base64.b64decode(_TEXT.decode(raw), validate=True))
            else:
                numbers = array.array("f", _NUMBERS.decode(raw))
        except (msgspec.DecodeError, binascii.Error, ValueError, OverflowError) as error:
            raise garbage(self.upstream, f"sent something that is no embedding: {error}") from None
        if not math.isfinite(sum(numbers)):  # of float32, so the sum itself cannot overflow
            raise garbage(self.upstream, "sent an embedding with numbers that are none")
        return numbers.tobytes()

    def _check_width(self, size: int, first: int) -> None:
        count = size // NUMBER_BYTES
        wished = self.embed.dimensions
        if wished is not None and count != wished:
            said = f"dimensions: upstream {self.upstream} sent {count} numbers, and shortens none"
            fault = Fault(Blame.CALLER, said, "unsupported_parameter", param="dimensions")
            raise WireFault(fault)
        if not size or size != first:
            raise garbage(self.upstream, "sent embeddings of different lengths")
