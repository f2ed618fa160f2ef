"""What an agent of a debate is shown: its own answer stays, the others' are put below it. Pure.

A conversation only grows, so the engine finds all of the round before in its prefix cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from lattice_actors.generation import JsonObject

from .trimming import room_bytes, shorten

FRAME_BYTES = 400  # of the words round the answers


@attrs.frozen
class Turn:
    """The messages of one agent in one round."""

    messages: tuple[JsonObject, ...]
    shortened: int = 0  # answers of others that were cut


def next_turn(
    messages: Sequence[JsonObject],
    answer: str,
    others: Sequence[str],
    *,
    number: int,
    rounds: int,
    context_tokens: int,
    answer_tokens: int,
) -> Turn:
    """Return what follows *messages* and the agent's own *answer* to them in round *number*."""
    before = (*messages, {"role": "assistant", "content": answer})
    room = room_bytes(context_tokens, answer_tokens, before) - FRAME_BYTES
    shown, cut = shorten(others, room)
    return Turn((*before, {"role": "user", "content": _said(shown, number, rounds)}), cut)


def _said(others: Sequence[str], number: int, rounds: int) -> str:
    head = f"Round {number} of {rounds}. The others answered:"
    answers = [f"Other {index}:\n{text}" for index, text in enumerate(others, start=1)]
    ask = (
        "Where they are right and you were wrong, change your mind; where you are right, say why. "
        "Give your full answer to the request again."
    )
    return "\n\n".join([head, *answers, ask])
