"""Server-sent events, from the bytes of a response, whatever the pieces it came in. Pure.

After the HTML standard, section 9.2.6: a line ends with LF, CR LF or CR, an event with an empty
line, its data are the ``data`` fields joined with LF. Other fields than ``data`` are passed over.
"""

from __future__ import annotations

import attrs

MAX_EVENT_BYTES = 1024 * 1024  # of one line, and of the data of one event


class EventTooLong(ValueError):
    """A line or an event is longer than `MAX_EVENT_BYTES`."""


@attrs.define
class EventReader:
    """Feed it bytes, get the data of the events that are complete."""

    lines: int = attrs.field(init=False, default=0)  # seen so far, comments too: signs of life
    _rest: bytearray = attrs.field(init=False, factory=bytearray)  # a line that has not ended
    _data: list[bytes] = attrs.field(init=False, factory=list[bytes])  # of the event so far
    _size: int = attrs.field(init=False, default=0)  # of `_data`
    _after_cr: bool = attrs.field(init=False, default=False)
    _begun: bool = attrs.field(init=False, default=False)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that ends in *data*. Raises EventTooLong."""
        if self._after_cr and data:
            self._after_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data[-1:] == b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._rest += data
            self._check(len(self._rest))
            return []
        *lines, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest = bytearray(rest)
        self._check(len(rest))
        events: list[bytes] = []
        for line in lines:
            self._line(line, events)
        return events

    def end(self) -> list[bytes]:
        """The response has ended: return an event whose empty line was left out."""
        events: list[bytes] = []
        if self._rest:
            self._line(bytes(self._rest), events)
            self._rest.clear()
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[bytes]) -> None:
        self._check(len(line))
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        self.lines += 1
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value)
            self._check(self._size)
            self._data.append(value)

    def _check(self, size: int) -> None:
        if size > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event of more than {MAX_EVENT_BYTES} bytes")
