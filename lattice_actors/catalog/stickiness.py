"""Which model answered a conversation last, so that its next turn finds the same one. Pure.

A conversation has no name on this API: every request brings all of its messages. It is
recognised by what came before the last user turn, which the next request repeats.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

CAPACITY = 10_000  # conversations; about 2 MB
TTL_S = 3600.0


@attrs.frozen
class ConversationKeys:
    """Where to look for the model of the turn before, and where to leave it for the next."""

    look_up: str | None  # None: this is the first turn
    remember: str | None  # None: there is no user turn to recognise the conversation by


def conversation_keys(principal: str, messages: Sequence[Any]) -> ConversationKeys:
    """Return the keys of a request, from decoded JSON messages.

    A turn is known by principal and messages up to and including its user message. The answer
    itself is left out: clients send it back changed, shortened or not at all. A request that
    goes on after its last user message (tool results) is still in the same turn.
    """
    try:
        return _keys(principal, messages)
    except RecursionError:  # nested too deeply to be hashed: a conversation like no other
        return ConversationKeys(None, None)


def _keys(principal: str, messages: Sequence[Any]) -> ConversationKeys:
    users = [at for at, one in enumerate(messages) if _role(one) == "user"]
    if not users:
        return ConversationKeys(None, None)
    last = users[-1]
    remember = _digest(principal, messages[: last + 1])
    if last + 1 < len(messages):
        return ConversationKeys(remember, remember)
    if len(users) == 1:
        return ConversationKeys(None, remember)
    return ConversationKeys(_digest(principal, messages[: users[-2] + 1]), remember)


@attrs.define
class Stickiness:
    """The last *capacity* conversations, each for *ttl_s* seconds after its last turn."""

    capacity: int = CAPACITY
    ttl_s: float = TTL_S
    _models: OrderedDict[str, tuple[str, float]] = attrs.field(
        init=False, factory=OrderedDict[str, tuple[str, float]]
    )  # key -> model and time of its last use, oldest first

    def remember(self, key: str, model: str, now: float) -> None:
        """Note that *model* answers the conversation *key*; drops the oldest beyond the bound."""
        self._models[key] = (model, now)
        self._models.move_to_end(key)
        while len(self._models) > self.capacity:
            self._models.popitem(last=False)

    def look_up(self, key: str, now: float) -> str | None:
        """Return the model of the conversation *key*, which counts as a use of it."""
        model, used = self._models.get(key, (None, now))
        if model is None:
            return None
        if now >= used + self.ttl_s:
            del self._models[key]
            return None
        self.remember(key, model, now)
        return model

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        return f"<Stickiness {len(self._models)}/{self.capacity} conversations>"


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, Mapping) else None


def _digest(principal: str, messages: Sequence[Any]) -> str:
    text = json.dumps([principal, *messages], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
