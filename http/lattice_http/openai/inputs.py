"""Texts or token ids, one or several: what completions go on from, and embeddings are made of."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Text, Tokens

from .bodies import decode_part, is_null, wrong

BYTES_OF_ID = 4  # what a token id counts for, where texts count their bytes

NonEmpty = Annotated[str, Meta(min_length=1)]
TokenIds = Annotated[
    list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(min_length=1)
]  # the engine knows the vocabulary, and checks again

_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(NonEmpty)
_TEXTS: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[NonEmpty])
_IDS: msgspec.json.Decoder[list[int]] = msgspec.json.Decoder(TokenIds)
_LISTS: msgspec.json.Decoder[list[list[int]]] = msgspec.json.Decoder(list[TokenIds])


def read_inputs(raw: Raw, param: str, most: int) -> tuple[tuple[Text | Tokens, ...], bool]:
    """Return what the field *param* has, at most *most*, and whether it came as several in a list.

    The first byte, and in a list that of the first item, tell which of four forms it is.

    Raises:
        BadRequest: there is nothing, or too many, or it is of none of these forms.
    """
    if is_null(raw):
        raise wrong(param, f"{param} required")
    content = bytes(raw)
    if content[:1] != b"[":
        return (Text(decode_part(content, _TEXT, param)),), False
    match content[1:].lstrip(b" \t\r\n")[:1]:
        case b"]":
            raise wrong(param, f"{param} required")
        case b'"':
            texts = decode_part(content, _TEXTS, param)
            _check_count(len(texts), param, most)
            return tuple(Text(text) for text in texts), True
        case b"[":
            # Before the lists are built: millions take a second.
            _check_count(content.count(b"[") - 1, param, most)
            lists = decode_part(content, _LISTS, param)
            return tuple(Tokens(tuple(each)) for each in lists), True
        case _:
            ids = decode_part(content, _IDS, param)
            return (Tokens(tuple(ids)),), False


def bytes_of(one: Text | Tokens) -> int:
    """Return the size of a text in UTF-8, and what token ids count as."""
    return len(one.text.encode()) if isinstance(one, Text) else BYTES_OF_ID * len(one.ids)


def _check_count(count: int, param: str, most: int) -> None:
    if count > most:
        raise wrong(param, f"more than {most} {param}s")
