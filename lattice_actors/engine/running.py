"""The streams that have a place in mlx-lm's `BatchGenerator`, and that generator itself.

A generator that has failed, or whose pass was given up, is thrown away: its streams wait for a
place again, and a fresh one goes on after the tokens they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .answer import Stream
from .generator import Generator, Model
from .pacing import Pacing
from .reuse import Found
from .sampling import greedy


class Running:
    """At most *max_streams* streams, by the number the generator knows them by."""

    def __init__(
        self,
        loaded: Model,
        pacing: Pacing,
        max_streams: int,
        make_generator: Callable[..., Generator],
    ) -> None:
        self._loaded = loaded
        self._pacing = pacing
        self._max_streams = max_streams
        self._make_generator = make_generator
        self.generator = self._fresh_generator()
        self._by_uid: dict[int, Stream] = {}
        self._kv_bytes = 0
        self._kv_stale = True

    def __repr__(self) -> str:
        return f"<Running {len(self)}/{self._max_streams} streams>"

    def __len__(self) -> int:
        return len(self._by_uid)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._by_uid.values())

    def __getitem__(self, uid: int) -> Stream:
        return self._by_uid[uid]

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return len(self) >= self._max_streams

    def kv_bytes(self, *, fresh: bool) -> int:
        """Return the bytes of their caches, as measured when a stream came or went, or *fresh*."""
        if self._kv_stale or fresh:
            self._kv_bytes, self._kv_stale = self.generator.prompt_cache_nbytes, False
        return self._kv_bytes

    def insert(self, stream: Stream, found: Found, parts: list[list[int]]) -> None:
        """Give *stream* a place: the generator goes on from *found* and reads *parts* first."""
        processors, sampler = stream.steering()
        options: dict[str, Any] = {
            # At least one: what has just drawn its last one leaves before the next step.
            "max_tokens": [max(1, stream.gen.max_tokens - len(stream.emitted))],
            "samplers": [sampler],
            "logits_processors": [processors],
            "caches": [found.state],
            "all_tokens": [stream.history[: found.length]],  # else processors would not see them
        }
        if len(parts) == 1:
            [stream.uid] = self.generator.insert(parts, **options)
        else:
            [stream.uid] = self.generator.insert_segments([parts], **options)
        stream.decoding, stream.prompt_done, stream.reused = False, 0, found.length
        self._by_uid[stream.uid] = stream
        self._kv_stale = True

    def remove(self, streams: Iterable[Stream]) -> None:
        """Take *streams* out; those without a place, and finished ones, are nothing."""
        uids = [stream.uid for stream in streams]
        for uid in uids:
            self._by_uid.pop(uid, None)
        self.generator.remove(uids)  # finished ones are unknown to it
        self._kv_stale = True

    def restart(self) -> None:
        """Throw the generator away: its streams have no place any more."""
        for stream in self:
            stream.uid = -1
        self._by_uid.clear()
        self.generator.close()
        self.generator = self._fresh_generator()
        self._kv_stale = True

    def _fresh_generator(self) -> Generator:
        # Prompts are all taken in at once: the sum of their chunks is bounded instead (pacing).
        return self._make_generator(
            self._loaded.model,
            stop_tokens=[[token] for token in self._loaded.eos_token_ids],
            sampler=greedy,
            completion_batch_size=self._max_streams,
            prefill_batch_size=self._max_streams,
            prefill_step_size=self._pacing.idle_tokens,
        )
