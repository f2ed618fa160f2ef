"""Log-probabilities in OpenAI's two forms: of chats, and of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from lattice_actors.generation import TokenLogprob

Told = Sequence[TokenLogprob]


def chat_logprobs(told: Told) -> dict[str, Any]:
    """Return the ``logprobs`` object of a choice of a chat, or of a chunk of it."""
    content = [
        _entry(each.token, each.logprob)
        | {"top_logprobs": [_entry(token, logprob) for token, logprob in each.top]}
        for each in told
    ]
    return {"content": content, "refusal": None}


def _entry(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


@attrs.define(eq=False)
class TextLogprobs:
    """The ``logprobs`` objects of a choice of a completion; offsets go on from chunk to chunk.

    A key of ``top_logprobs`` is a text, so of several tokens with one text the likeliest stays.
    An offset counts the characters of the tokens before.
    """

    _offset: int = attrs.field(init=False, default=0)

    def next(self, told: Told) -> dict[str, Any]:
        """Return the object for the next tokens."""
        offsets: list[int] = []
        tops: list[dict[str, float]] = []
        for each in told:
            offsets.append(self._offset)
            self._offset += len(_text(each.token))
            likeliest: dict[str, float] = {}
            for token, logprob in each.top:
                likeliest.setdefault(_text(token), logprob)
            likeliest.setdefault(_text(each.token), each.logprob)
            tops.append(likeliest)
        return {
            "tokens": [_text(each.token) for each in told],
            "token_logprobs": [each.logprob for each in told],
            "top_logprobs": tops,
            "text_offset": offsets,
        }


def _text(token: bytes) -> str:
    """Part of a character reads as U+FFFD; the bytes beside it are true."""
    return token.decode(errors="replace")
