"""The last refusals and failures, for people, without what looks like a key. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

MOST_FAULTS = 50  # kept

# Keys of ours and of others', wherever an upstream's error text repeats them.
_SECRETS = re.compile(r"\b(?:sk|pk|hf|gsk)[-_][\w-]{8,}|(?<=Bearer )[^\s\"']+")


@attrs.frozen
class Fault:
    """A refusal or failure, for people."""

    at: float
    code: str
    message: str
    request_id: str | None = None
    status: int | None = None
    route: str | None = None
    model: str | None = None
    klass: str | None = None
    key: str | None = None


@attrs.define(eq=False)
class Faults:
    """Numbered as they came; the oldest goes."""

    _secrets: tuple[str, ...]
    _most_chars: int  # of a message
    _kept: dict[int, Fault] = attrs.field(init=False, factory=dict[int, Fault])
    _number: int = attrs.field(init=False, default=0)  # of the last one

    def add(self, fault: Fault) -> None:
        """Keep *fault*, its message cleaned."""
        self._number += 1
        self._kept[self._number] = attrs.evolve(fault, message=self.clean(fault.message))
        while len(self._kept) > MOST_FAULTS:
            del self._kept[next(iter(self._kept))]

    def clean(self, text: str) -> str:
        """Return *text* without keys, and not too long."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return _SECRETS.sub("[key]", text)[: self._most_chars]

    @property
    def kept(self) -> Mapping[int, Fault]:
        """By number, oldest first."""
        return self._kept
