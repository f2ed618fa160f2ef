"""The free text of a custom tool, read out of the arguments that stand for it. Pure.

In a chat it is the one argument of a function, ``{"input": "..."}``, and it is told as it comes:
what was told is never taken back. Models forget how JSON is written, so that what is no escape
in it is taken as it stands, line breaks too.
"""

from __future__ import annotations

import json
import re

import attrs

from .callees import INPUT

MAX_HEAD_CHARS = 64  # of white space and the key; who has not begun by then is read at the end

_HEAD = re.compile(r'\s*\{\s*"' + INPUT + r'"\s*:\s*"')
# Plain text, a pair of surrogates, any escape. The end of the text may have begun one.
_PIECE = re.compile(
    r'(?P<plain>[^"\\]+)'
    r"|\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u(?P<code>[0-9a-fA-F]{4})"
    r"|\\(?P<other>[^u]|u(?![0-9a-fA-F]{0,3}\Z))",
    re.DOTALL,
)
_BEGUN_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(\\(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}


@attrs.define
class FreeText:
    """Reads the arguments of one call, piece by piece."""

    _kept: list[str] = attrs.field(factory=list[str])  # pieces before the text begins
    _size: int = 0  # characters of these
    _unread: str = ""  # of the text
    _inside: bool = False
    _over: bool = False

    def read(self, arguments: str) -> str:
        """Take the next piece of the arguments; return what is known of the text by it."""
        if self._inside:
            self._unread += arguments
            return self._decoded()
        waiting = self._size < MAX_HEAD_CHARS
        self._kept.append(arguments)
        self._size += len(arguments)
        if not waiting:
            return ""
        begun = "".join(self._kept)
        head = _HEAD.match(begun, 0, MAX_HEAD_CHARS)
        if head is None:
            return ""
        self._inside = True
        self._kept.clear()
        self._unread = begun[head.end() :]
        return self._decoded()

    def rest(self, *, cut: bool = False) -> str:
        """Return what else the text is, now that the arguments are over; *cut*: before their end.

        Arguments that hold no text under its name are a text under another, or else the text.
        """
        if self._inside or cut:
            return ""
        arguments = "".join(self._kept)
        try:
            read = json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
        if read == {}:
            return ""
        if isinstance(read, dict):
            texts = [read[INPUT]] if INPUT in read else list(read.values())
            read = texts[0] if len(texts) == 1 else None
        return _sound(read) if isinstance(read, str) else arguments

    def _decoded(self) -> str:
        if self._over:
            self._unread = ""
            return ""
        text, at, told = self._unread, 0, list[str]()
        while at < len(text):
            if text[at] == '"':
                self._over = True
                break
            piece = _PIECE.match(text, at)
            if piece is None or _BEGUN_PAIR.match(text, at):
                break  # an escape that goes on in the next piece
            told.append(_meant(piece))
            at = piece.end()
        self._unread = text[at:]
        return "".join(told)


def _meant(piece: re.Match[str]) -> str:
    match piece.lastgroup:
        case "plain":
            return piece["plain"]
        case "low":
            pair = bytes.fromhex(piece["high"] + piece["low"])
            return pair.decode("utf-16-be")
        case "code":
            return _sound(chr(int(piece["code"], 16)))
        case _:
            return _SHORT.get(piece["other"], f"\\{piece['other']}")


def _sound(text: str) -> str:
    """Return *text* without halves of pairs, which no answer could say."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
