"""An answer that has to be one of some texts: held until it is sure that it is. Pure.

It is short, so nobody waits long for it, and a server that does not keep to the choices is found
out before anything of its answer is seen: another model can be asked then.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import attrs

from lattice_actors.generation import Delta, Finish, FinishReason

from .choosing import Choosing
from .faults import WireFault, unable
from .openai_wire import AnswerReader


@attrs.define
class ChoiceReader:
    """Reads as `AnswerReader` does, but for the text. Raises WireFault where that is no choice."""

    _answer: AnswerReader
    _choosing: Choosing
    _held: list[Delta] = attrs.field(init=False, factory=list[Delta])
    _chars: int = attrs.field(init=False, default=0)  # of what is held
    _blank: bool = attrs.field(init=False, default=True)  # that is white space so far
    _called: bool = attrs.field(init=False, default=False)

    @property
    def done(self) -> bool:
        return self._answer.done

    @property
    def signs_of_life(self) -> int:
        return self._answer.signs_of_life

    def feed(self, data: bytes) -> list[Delta | Finish]:
        return self._take(self._answer.feed(data))

    def end(self) -> list[Delta | Finish]:
        return self._take(self._answer.end())

    def _take(self, pieces: Iterable[Delta | Finish]) -> list[Delta | Finish]:
        taken: list[Delta | Finish] = []
        for piece in pieces:
            if isinstance(piece, Finish):
                taken += self._ended(piece)
            elif not (piece.reasoning or piece.calls):
                self._hold(piece)
            else:
                self._called |= bool(piece.calls)
                if piece.text:
                    self._hold(Delta(piece.text, piece.tokens, piece.logprobs))
                    piece = Delta("", 0, (), piece.reasoning, piece.calls)
                taken.append(piece)
        return taken

    def _hold(self, piece: Delta) -> None:
        self._held.append(piece)
        self._chars += len(piece.text)
        if self._blank:
            self._blank = not piece.text.strip()
            if not self._choosing.may_begin(piece.text):
                raise self._wrong()
        if self._chars > self._choosing.most_chars:
            raise self._wrong()

    def _ended(self, finish: Finish) -> list[Delta | Finish]:
        if self._called and self._blank:  # it calls a tool instead
            return [finish]
        written = "".join(piece.text for piece in self._held)
        cut_off = finish.reason is FinishReason.LENGTH
        chosen = self._choosing.read(written, cut_off=cut_off)
        if chosen is None:
            raise self._wrong()
        if self._choosing.form != "schema":
            return [reduce(Delta.joined, self._held), finish] if self._held else [finish]
        text, stop = self._choosing.stopped(chosen.text)
        if (chosen.whole or stop) and cut_off:  # what is missing is not of the answer
            finish = attrs.evolve(finish, reason=FinishReason.STOP)
        tokens = sum(piece.tokens for piece in self._held)
        return [Delta(text, tokens), attrs.evolve(finish, stop=stop)]

    def _wrong(self) -> WireFault:
        said = f"wrote none of the choices: it does not honour {self._choosing.field}"
        return unable(self._answer.upstream, said)
