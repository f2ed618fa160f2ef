"""The bytes that a token stands for, which need not be whole characters. Imports no mlx."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import attrs

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary(Protocol):
    """What we use of mlx-lm's `TokenizerWrapper` here (it forwards to a Hugging Face tokenizer)."""

    @property
    def backend_tokenizer(self) -> Backend: ...

    def convert_ids_to_tokens(self, token: int, /) -> str | None: ...


class Backend(Protocol):
    """What we use of a `tokenizers.Tokenizer`."""

    @property
    def decoder(self) -> object: ...

    def get_added_tokens_decoder(self) -> dict[int, object]: ...


@attrs.define(eq=False)
class TokenBytes:
    """The bytes of the tokens of one vocabulary, found when they are asked for."""

    _tokenizer: Vocabulary
    _known: dict[int, bytes] = attrs.field(init=False, factory=dict[int, bytes])

    def __call__(self, token: int) -> bytes:
        """Return the bytes of *token*; none, where the tokenizer has no such token."""
        known = self._known.get(token)
        if known is None:
            text = self._tokenizer.convert_ids_to_tokens(token) or ""
            known = self._known[token] = self._decode(token, text)
        return known

    def _decode(self, token: int, text: str) -> bytes:
        if token in self._added:
            return text.encode()
        return _byte_level(text) if self._is_byte_level else _sentence_piece(text)

    @cached_property
    def _is_byte_level(self) -> bool:
        """Bytes are written as GPT-2 does, and not as SentencePiece does."""
        return "ByteLevel" in repr(self._tokenizer.backend_tokenizer.decoder)

    @cached_property
    def _added(self) -> frozenset[int]:
        """Tokens that stand for themselves."""
        return frozenset(self._tokenizer.backend_tokenizer.get_added_tokens_decoder())


def _sentence_piece(text: str) -> bytes:
    if byte := _BYTE.fullmatch(text):
        return bytes([int(byte[1], 16)])
    return text.replace("\u2581", " ").encode()


def _byte_level(text: str) -> bytes:
    try:
        return bytes(_BYTES[letter] for letter in text)
    except KeyError:
        return text.encode()


def _byte_letters() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes are themselves, the others follow from U+0100 on."""
    printable: Sequence[int] = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_letters()
