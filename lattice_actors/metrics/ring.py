"""Where news for the metrics actor wait: bounded, never in the way of who tells them. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from .news import News

MOST_UNREAD = 4096


@attrs.define(eq=False)
class Ring:
    """The newest unread news. Beyond *limit* the oldest are dropped, and counted.

    The reader is woken once, by the first that comes after it has taken all.
    """

    limit: int = MOST_UNREAD
    dropped: int = attrs.field(init=False, default=0)
    _unread: deque[News] = attrs.field(init=False)
    _wake: Callable[[], None] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._unread = deque(maxlen=self.limit)

    def put(self, news: News) -> None:
        """Add *news*, in place of the oldest where there is no room."""
        if len(self._unread) == self.limit:
            self.dropped += 1
        self._unread.append(news)
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()

    def take(self, wake: Callable[[], None]) -> deque[News]:
        """Return all that is unread; *wake* is called when there is more, once."""
        unread, self._unread = self._unread, deque(maxlen=self.limit)
        self._wake = wake
        return unread
