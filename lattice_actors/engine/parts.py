"""Reasoning, text and tool calls of one answer, told apart while it comes. Pure.

Text goes in, cut anywhere; events come out in order. What a whole answer gives is by
construction what its pieces give, joined.

    text ──think start──► reasoning ──think end──► text
    text, reasoning ──call start──► body ──head──► arguments ──closing bracket──► body
    body ──call end, or the end of the answer──► text

A *head* is what stands before arguments that are JSON, the name in it. Where a format has one,
the call begins at once and its arguments follow as they come, up to the bracket that closes them
(an end marker inside a JSON string is text like any other). Without a head the body is read as a
whole when it has ended; one that cannot be read goes back to where it stood, markers and all.
White space around a marker belongs to the marker.
"""

from __future__ import annotations

import enum
import re
import secrets
from collections.abc import Callable, Sequence

import attrs

from .frames import CallPiece

HEAD_CHARS = 512  # a head is within so many characters, or there is none
_LEFTOVER = re.compile(r"[\s,\]}]*")  # what closes a body whose calls have begun


@attrs.frozen
class Reasoning:
    """The next of what the model thinks."""

    text: str


@attrs.frozen
class Said:
    """The next of what the model says."""

    text: str


Event = Reasoning | Said | CallPiece


@attrs.frozen
class Call:
    """A call that was read as a whole."""

    name: str
    arguments: str  # JSON of an object
    id: str = ""  # the model's own; "": it gave none


@attrs.frozen
class CallFormat:
    """How a model writes its calls."""

    start: str
    end: str  # "": only the end of the answer ends them
    parse: Callable[[str], Sequence[Call]]  # of a whole body; raises ValueError
    heads: tuple[re.Pattern[str], ...] = ()  # groups `name`, perhaps `id`; arguments follow
    closer: str = ""  # what makes a body that was cut off whole again, if anything does
    between: tuple[str, ...] = ()  # markers between its calls
    known: frozenset[str] = frozenset()  # in a body that was cut off only these names are whole
    named: re.Pattern[str] | None = None  # a body that was cut off, and has its `name` already


@attrs.frozen
class Reading:
    """How the answer to one prompt is to be read."""

    think: tuple[str, str] | None = None  # the markers of reasoning; None: it is text
    calls: CallFormat | None = None  # None: nobody asked for any, so markers are text
    thinking: bool = False  # the prompt ends inside reasoning
    single: bool = False  # the answer is over with its first call
    swallowed: tuple[str, ...] = ()  # markers that mean nothing to a reader


class _Place(enum.Enum):
    TEXT = enum.auto()
    REASONING = enum.auto()
    BODY = enum.auto()
    ARGUMENTS = enum.auto()


def new_call_id() -> str:
    """Return an id for a call: 64 random bits."""
    return f"call_{secrets.token_hex(8)}"


@attrs.define(eq=False)
class AnswerParts:
    """One answer being read."""

    _reading: Reading
    _new_id: Callable[[], str] = new_call_id
    done: bool = attrs.field(init=False, default=False)  # nothing more is wanted of it
    calls: int = attrs.field(init=False, default=0)  # begun so far
    _place: _Place = attrs.field(init=False, default=_Place.TEXT)
    _held: str = attrs.field(init=False, default="")  # not decided yet
    _fresh: bool = attrs.field(init=False, default=False)  # only white space since a marker
    _came_from: _Place = attrs.field(init=False, default=_Place.TEXT)  # before this body
    _gap: str = attrs.field(init=False, default="")  # white space before its start marker
    _calls_before: int = attrs.field(init=False, default=0)  # this body
    _depth: int = attrs.field(init=False, default=0)  # open brackets of the arguments
    _quoted: bool = attrs.field(init=False, default=False)
    _escaped: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        if self._reading.thinking:
            self._place, self._fresh = _Place.REASONING, True

    @property
    def thinking(self) -> bool:
        """What comes next is reasoning, as far as is known."""
        return self._place is _Place.REASONING

    def feed(self, text: str) -> list[Event]:
        """Take the next piece; return what is certain now."""
        events: list[Event] = []
        if not self.done:
            self._held += text
            while self._advance(events):
                pass
        return events

    def end(self, *, cut: bool) -> list[Event]:
        """No more text: return the rest. *cut*: the model had not ended by itself."""
        events: list[Event] = []
        if self.done:
            return events
        held, self._held = self._held, ""
        match self._place:
            case _Place.TEXT | _Place.REASONING:
                self._say(held.lstrip() if self._fresh else held, self._place, events)
            case _Place.BODY:
                self._close(held, "", events, cut=cut)
            case _Place.ARGUMENTS:
                pass  # all of them were given on
        return events

    # --- one move; False: more text is needed --------------------------------------------------

    def _advance(self, events: list[Event]) -> bool:
        if self.done:
            return False
        match self._place:
            case _Place.BODY:
                return self._read_body(events)
            case _Place.ARGUMENTS:
                return self._read_arguments(events)
            case _:
                return self._read_prose(events)

    def _markers(self) -> list[str]:
        """The markers that mean something here."""
        think, calls = self._reading.think, self._reading.calls
        here = [calls.start] if calls else []
        if think:
            here.append(think[self._place is _Place.REASONING])
        return here if self._place is _Place.REASONING else [*here, *self._reading.swallowed]

    def _read_prose(self, events: list[Event]) -> bool:
        held = self._held.lstrip() if self._fresh else self._held
        markers = self._markers()
        found = [(at, marker) for marker in markers if (at := held.find(marker)) >= 0]
        if not found:
            sure = len(held[: len(held) - _undecided(held, markers)].rstrip())
            self._say(held[:sure], self._place, events)
            self._held = held[sure:]
            return False
        at, marker = min(found)
        before = held[:at].rstrip()
        self._say(before, self._place, events)
        self._held = held[at + len(marker) :]
        self._fresh = True
        if self._reading.calls and marker == self._reading.calls.start:
            self._came_from, self._gap = self._place, held[len(before) : at]
            self._calls_before = self.calls
            self._place = _Place.BODY
        elif self._reading.think and marker in self._reading.think:
            begins = marker == self._reading.think[0] and not self.thinking
            self._place = _Place.REASONING if begins else _Place.TEXT
        return True

    def _read_body(self, events: list[Event]) -> bool:
        form = self._form
        begin = self._held[:HEAD_CHARS]
        if head := next(filter(None, (each.match(begin) for each in form.heads)), None):
            self._begin_call(head["name"], head.groupdict().get("id") or "", events)
            self._held = self._held[head.end() :]
            self._place = _Place.ARGUMENTS
            return True
        at = self._held.find(form.end) if form.end else -1
        if at < 0:
            return False
        body, self._held = self._held[:at], self._held[at + len(form.end) :]
        self._close(body, form.end, events)
        return True

    def _read_arguments(self, events: list[Event]) -> bool:
        held = self._held
        for place, letter in enumerate(held):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped = letter == "\\"
                self._quoted = letter != '"'
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth == 0:
                    events.append(CallPiece(self.calls - 1, arguments=held[: place + 1]))
                    self._held = held[place + 1 :]
                    self._place = _Place.BODY
                    self.done = self._reading.single
                    return True
        if held:
            events.append(CallPiece(self.calls - 1, arguments=held))
        self._held = ""
        return False

    # --- what the moves are made of ------------------------------------------------------------

    @property
    def _form(self) -> CallFormat:
        assert self._reading.calls is not None
        return self._reading.calls

    def _say(self, text: str, place: _Place, events: list[Event]) -> None:
        if text:
            self._fresh = False
            events.append(Reasoning(text) if place is _Place.REASONING else Said(text))

    def _begin_call(self, name: str, call_id: str, events: list[Event], given: str = "") -> None:
        events.append(CallPiece(self.calls, call_id or self._new_id(), name, given))
        self.calls += 1

    def _close(self, body: str, end: str, events: list[Event], *, cut: bool = False) -> None:
        """The body is over: give on the calls that are in it, or itself."""
        begun = self.calls > self._calls_before
        if begun and self._is_leftover(body):
            self._place, self._fresh = _Place.TEXT, True
            return
        calls = self._calls_in(body, cut=cut)
        for number, call in enumerate(calls):
            # Nobody shall take the arguments of a call that was cut off for all of them.
            part = cut and number == len(calls) - 1
            given = call.arguments[:-1] if part else call.arguments
            self._begin_call(call.name, call.id, events, given)
            if self._reading.single:
                self.done = True
                return
        if calls:
            self._place, self._fresh = _Place.TEXT, True
            return
        form = self._form
        if cut and form.named and (named := form.named.match(body)):
            self._begin_call(named["name"], "", events)
            return
        self._place = _Place.TEXT if begun else self._came_from
        raw = body if begun else self._gap + self._form.start + body + end
        self._say(raw, self._place, events)

    def _calls_in(self, body: str, *, cut: bool) -> Sequence[Call]:
        form = self._form
        for whole in (body, body + form.closer) if cut and form.closer else (body,):
            try:
                calls = form.parse(whole)
            except ValueError:
                continue
            if not cut or not form.known or all(call.name in form.known for call in calls):
                return calls
        return ()

    def _is_leftover(self, body: str) -> bool:
        """Say whether *body*, which may end inside a marker, only closes what has begun."""
        for marker in self._form.between:
            body = body.replace(marker, "")
        unfinished = _undecided(body, [self._form.end, *self._form.between])
        return bool(_LEFTOVER.fullmatch(body[: len(body) - unfinished]))


def _undecided(text: str, markers: Sequence[str]) -> int:
    """Return the length of the longest end of *text* that begins some marker."""
    most = min(max(map(len, markers), default=1) - 1, len(text))
    for length in range(most, 0, -1):
        if any(marker.startswith(text[-length:]) for marker in markers):
            return length
    return 0
