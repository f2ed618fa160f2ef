"""From measured rates to waits: how long requests take, how long a load takes, who waits how long.

Pure. Every rate is a ratio of two sums that forget slowly, so long requests weigh more than short
ones (a prompt of two words is mostly chat template) and a changed machine shows soon.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import attrs

from .verdicts import Class, Facts, Limits

FORGET = 0.1  # how much of the past one observation pushes out
GENERATION_TIMEOUT_S = 300.0  # no answer runs longer, whatever it asked for
MIN_REMAINING_FRACTION = 0.1  # what has run longer than expected still needs this much of it

# Before anything is measured. Hopeful on purpose: a wrong refusal costs more than a wrong wait.
PRIOR_PREFILL_TOKENS_PER_S = 1000.0
PRIOR_DECODE_TOKENS_PER_S = 40.0
PRIOR_LOAD_S = 5.0
PRIOR_COMPLETION_FRACTION = 0.5
PRIOR_BYTES_PER_TOKEN = 3.5  # English text in current vocabularies
BYTES_PER_TOKEN_RANGE = (1.0, 8.0)  # outside of it the measurement is about something else


@attrs.define
class Ratio:
    """Sum of *amount* over sum of *per*, both forgetting; starts at a guess of some weight."""

    value: float
    _weight: float  # how much `per` the guess, later the past, counts for
    measured: bool = False

    def observe(self, amount: float, per: float) -> None:
        """Take in one observation; one with nothing in it is ignored."""
        if per <= 0 or amount < 0:
            return
        past = self._weight * (1 - FORGET)
        self.value = (self.value * past + amount) / (past + per)
        self._weight = past + per
        self.measured = True

    def expect(self, value: float) -> None:
        """Replace the guess, unless something was measured already."""
        if not self.measured and value > 0:
            self.value = value


@attrs.define
class Rates:
    """What is known of one model. The weights are small: real observations soon outweigh them."""

    prefill_tokens_per_s: Ratio = attrs.field(
        factory=lambda: Ratio(PRIOR_PREFILL_TOKENS_PER_S, 0.01)
    )
    decode_tokens_per_s: Ratio = attrs.field(factory=lambda: Ratio(PRIOR_DECODE_TOKENS_PER_S, 0.1))
    completion_fraction: Ratio = attrs.field(
        factory=lambda: Ratio(PRIOR_COMPLETION_FRACTION, 512.0)
    )
    bytes_per_token: Ratio = attrs.field(factory=lambda: Ratio(PRIOR_BYTES_PER_TOKEN, 256.0))
    load_s: Ratio = attrs.field(factory=lambda: Ratio(PRIOR_LOAD_S, 0.01))


@attrs.define(eq=False)
class Forecast:
    """The rates of all models, and the times that follow from them."""

    _models: dict[str, Rates] = attrs.field(factory=dict[str, Rates])

    def rates(self, model: str) -> Rates:
        """Return what is known of *model*; guesses for one never seen."""
        return self._models.get(model) or Rates()

    # --- what was measured ---

    def observed_finish(
        self,
        model: str,
        *,
        prompt_tokens: int,
        prompt_bytes: int,
        completion_tokens: int,
        max_tokens: int,
        decode_s: float,
        ttft_s: float,
    ) -> None:
        """Learn from one finished answer; *ttft_s* counts from its grant, *decode_s* from then."""
        rates = self._models.setdefault(model, Rates())
        rates.prefill_tokens_per_s.observe(prompt_tokens, ttft_s)
        rates.decode_tokens_per_s.observe(completion_tokens - 1, decode_s)  # the first is prefill's
        rates.completion_fraction.observe(completion_tokens, max_tokens)
        if prompt_bytes > 0:
            rates.bytes_per_token.observe(prompt_bytes, prompt_tokens)

    def observed_load(self, model: str, seconds: float) -> None:
        """Learn from one load: from the evictor's start to ready."""
        self._models.setdefault(model, Rates()).load_s.observe(seconds, 1.0)

    def ready(self, model: str, decode_step_s: float, prefill_tokens_per_s: float) -> None:
        """Take the warm-up's rates as the guess until answers have been measured."""
        rates = self._models.setdefault(model, Rates())
        rates.prefill_tokens_per_s.expect(prefill_tokens_per_s)
        if decode_step_s > 0:
            rates.decode_tokens_per_s.expect(1.0 / decode_step_s)

    # --- what follows ---

    def estimate_prompt_tokens(self, model: str, utf8_bytes: int) -> float:
        """Estimate the tokens of a prompt that cannot be tokenised yet."""
        least, most = BYTES_PER_TOKEN_RANGE
        return utf8_bytes / min(most, max(least, self.rates(model).bytes_per_token.value))

    def load_s(self, model: str) -> float:
        """From the evictor's start of a load to ready."""
        return self.rates(model).load_s.value

    def prefill_s(self, facts: Facts) -> float:
        """From the grant to the first token."""
        return _seconds(facts.prompt_tokens, self.rates(facts.model).prefill_tokens_per_s.value)

    def service_s(self, facts: Facts) -> float:
        """How long the request will probably hold its slot."""
        fraction = min(1.0, self.rates(facts.model).completion_fraction.value)
        return self._holds_s(facts, fraction * facts.max_tokens)

    def ceiling_s(self, facts: Facts) -> float:
        """How long it holds its slot if it uses all of `max_tokens`."""
        return self._holds_s(facts, facts.max_tokens)

    def remaining_s(self, facts: Facts, running_s: float) -> float:
        """How long a request that has run for *running_s* will go on."""
        expected = self.service_s(facts)
        return max(expected - running_s, expected * MIN_REMAINING_FRACTION)

    def starts_s(
        self,
        slots: int,
        running: Sequence[tuple[Facts, float]],
        waiting: Sequence[Facts],
        first_s: float = 0.0,
    ) -> list[float]:
        """Predict, in seconds from now, when each of *waiting* (in order of service) starts.

        *running* are (facts, seconds run so far); *slots* 0 is no cap; nobody starts before
        *first_s*, the moment when the model is ready.
        """
        if slots <= 0:
            return [first_s] * len(waiting)
        ends = sorted(self.remaining_s(facts, ran_s) for facts, ran_s in running)
        # More may run than there are slots now: the first ends of those free nothing.
        free = [max(end, first_s) for end in ends[max(0, len(ends) - slots) :]]
        free += [first_s] * (slots - len(free))
        heapq.heapify(free)
        starts: list[float] = []
        for facts in waiting:
            start = free[0]
            starts.append(start)
            heapq.heapreplace(free, start + self.service_s(facts))
        return starts

    def __repr__(self) -> str:
        return f"<Forecast of {len(self._models)} models>"

    def _holds_s(self, facts: Facts, answer_tokens: float) -> float:
        decode = self.rates(facts.model).decode_tokens_per_s.value
        return min(GENERATION_TIMEOUT_S, self.prefill_s(facts) + _seconds(answer_tokens, decode))


def longest_wait_s(
    limits: Limits,
    klass: Class,
    *,
    slots: int,
    service_s: float,
    own: int,
    keys: int,
    models: int = 1,
    load_s: float = 0.0,
    gang_models: int = 1,
) -> float:
    """The bound of docs/scheduling.md: how long a request of *klass* can wait at most.

    *own* requests of its key (itself too) wait for its model, *keys* keys use the model, *models*
    share one place in memory (1: it stays resident). No service is longer than *service_s*, no
    swap from drained to ready than *load_s*. A branch of a swarm may have to wait for each of its
    *gang_models* models in turn. Needs a queue bound and a cap on streams.
    """
    before_overdue_s = (
        limits.ageing_s * {Class.INTERACTIVE: 1, Class.NORMAL: 2, Class.BATCH: 3}[klass]
    )
    ahead = own * min(keys, limits.queue_max_per_model or math.inf)  # itself too
    rounds = math.ceil(ahead / slots)
    if models == 1:
        return gang_models * (before_overdue_s + load_s + rounds * service_s)
    stay_s = max(limits.min_residence_s, limits.collate_s)
    return gang_models * (before_overdue_s + rounds * models * (stay_s + service_s + load_s))


def _seconds(tokens: float, tokens_per_s: float) -> float:
    return tokens / tokens_per_s if tokens_per_s > 0 else GENERATION_TIMEOUT_S
