"""How many prompt tokens go into one engine step. Pure.

A step is one decode of all running streams plus one chunk of every prompt that is being read.
The chunk decides how long the running streams wait for their next token, so while somebody
decodes it is bounded in time: chunk and decode together at most 2.5 times a decode step, or a
target in ms. Nobody decoding: a fixed number of tokens, for the best time to first token.

The bound is on the sum over all prompts, which get equal shares: a short one is through after
a few steps, whatever stands beside it. mlx-lm pads the chunks of a step to the longest, so a
share costs the same for each prompt and the sum is shares x prompts.

Rates are learned from the steps themselves. mlx-lm computes one token ahead: the first step with
a chunk after steps without one also waits for the decode that was under way, so it gets a
smaller chunk, and the first step without a chunk is almost free. Neither teaches anything.
"""

from __future__ import annotations

import attrs

STEP_FACTOR = 2.5  # of the decode step; twice is noticed by nobody, four times reads as a stall
LEAST_TOKENS = 16  # a pass costs about a decode step whatever its size: less is all overhead
NEWEST = 0.25  # weight of the newest measurement
GATHER_SHARE = 0.03  # of a prefill: how much later it may begin for the sake of company
CLOCK_S = 1e-6  # no measurement is finer
LEAST_CHUNK = 0.05  # of a step's time, when noise says the chunk took none


@attrs.define
class Pacing:
    """The prompt tokens of the next step, from what the last ones took."""

    idle_tokens: int  # most prompt tokens of a step, nobody decoding
    target_step_s: float  # 0: STEP_FACTOR times the measured decode step
    first_decode_s: float  # of one stream, from the warm-up
    tokens_per_s: float  # prompt tokens, from the warm-up; then as learned beside decoding
    _decode_s: dict[int, float] = attrs.field(init=False, factory=dict[int, float])
    _last_had_chunk: bool | None = attrs.field(init=False, default=None)  # None: nobody decoded

    def worth_waiting_s(self, unread_tokens: int) -> float:
        """Return how long the next request is waited for, before prompts are read from rest.

        A burst that is read in one pass is through in half the time of one read in two, and its
        requests come some milliseconds apart.
        """
        return GATHER_SHARE * unread_tokens / max(self.tokens_per_s, 1.0)

    def share(self, prefilling: int, decoding: int) -> int:
        """Return how many tokens each of *prefilling* prompts may read in the next step."""
        return max(1, self.budget(decoding) // max(1, prefilling))

    def budget(self, decoding: int) -> int:
        """Return how many prompt tokens the next step may read beside *decoding* streams."""
        if decoding == 0:
            return self.idle_tokens
        decode_s = self.decode_s(decoding)
        target_s = self.target_step_s or STEP_FACTOR * decode_s
        under_way_s = decode_s if self._last_had_chunk is False else 0.0
        tokens = round((target_s - decode_s - under_way_s) * self.tokens_per_s)
        return max(min(LEAST_TOKENS, self.idle_tokens), min(self.idle_tokens, tokens))

    def decode_s(self, decoding: int) -> float:
        """Return the measured step of that many streams, or of the next smaller number seen."""
        seen = max((number for number in self._decode_s if number <= decoding), default=0)
        return self._decode_s[seen] if seen else self.first_decode_s

    def measured(self, took_s: float, decoding: int, chunk_tokens: int) -> None:
        """Learn from a step; *decoding* as at its beginning, *chunk_tokens* padding included."""
        before = self._last_had_chunk
        self._last_had_chunk = None if decoding == 0 else chunk_tokens > 0
        if before is None or before is not self._last_had_chunk:
            return
        if chunk_tokens == 0:
            known = self._decode_s.get(decoding, took_s)
            self._decode_s[decoding] = known + NEWEST * (took_s - known)
        else:
            chunk_s = max(took_s - self.decode_s(decoding), LEAST_CHUNK * took_s, CLOCK_S)
            self.tokens_per_s += NEWEST * (chunk_tokens / chunk_s - self.tokens_per_s)

    def joined(self) -> None:
        """A prompt became a stream in this step, which costs a pass of its own: learn nothing."""
        self._last_had_chunk = None
