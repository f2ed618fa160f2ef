"""Server-sent events from a byte stream that is cut anywhere (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import attrs

MAX_EVENT_BYTES = 4 * 1024 * 1024  # a server that never ends its event must not fill our memory


class BadEventStream(ValueError):
    """What the server sends is no event stream, or an endless event."""


@attrs.define
class EventStream:
    """Feed it bytes as they come; it returns the events they complete.

    An event is a pair of its name ("message" when unnamed) and its data lines, joined by "\\n".
    Comments are counted, `id` and `retry` are ignored: a benchmark never reconnects.
    """

    comments: int = attrs.field(init=False, default=0)
    _rest: bytes = attrs.field(init=False, default=b"")  # a line without its end yet
    _after_cr: bool = attrs.field(init=False, default=False)  # an LF now belongs to that CR
    _name: bytes = attrs.field(init=False, default=b"")
    _data: list[bytes] = attrs.field(init=False, factory=list[bytes])
    _held_bytes: int = attrs.field(init=False, default=0)  # lines of an event without its end

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the (name, data) of each event that is whole now; raises `BadEventStream`."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = (self._rest + data).split(b"\n")
        events: list[tuple[bytes, bytes]] = []
        for line in lines:
            self._held_bytes += len(line)
            if not line:
                if self._data:
                    events.append((self._name or b"message", b"\n".join(self._data)))
                self._name, self._data, self._held_bytes = b"", [], 0
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b":"):
                self.comments += 1
            elif line.startswith(b"event:"):
                self._name = line[6:].removeprefix(b" ")
            elif line == b"data":
                self._data.append(b"")
        if self._held_bytes + len(self._rest) > MAX_EVENT_BYTES:
            raise BadEventStream(f"an event of more than {MAX_EVENT_BYTES} bytes")
        return events
