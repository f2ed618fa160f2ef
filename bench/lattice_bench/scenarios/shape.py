"""The words that scenarios are written in. Pure.

A *shape* is a generator: it yields *waves*, which are requests that belong together, and gets
their answers back, in the order of the requests. It knows no clock and no socket. What was
answered in one turn of a shape is a *round*, and a scenario says which readings a round gives.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence

import attrs

from lattice_bench.answers import Answer, Run
from lattice_bench.prompts import prompt

Message = dict[str, str]


@attrs.frozen
class Swarm:
    """Ask several samples of one model with one request, whose answer comes as a whole."""

    route: str  # such as FANOUT
    samples: int
    strategy: str | None = None


FANOUT = "/swarm/fanout"
VOTE = "/swarm/vote"


@attrs.frozen
class Request:
    """One request; whoever carries out the wave adds what the server wants beside it."""

    label: str  # under which its answer is read
    messages: tuple[Message, ...]
    max_tokens: int
    model: int = 0  # which of the server's models
    delay_s: float = 0.0  # sent so long after its wave began
    after_texts: int = 0  # sent when all others of the wave have so many texts, or have ended
    fields: Mapping[str, object] = {}  # more of a chat request's body
    swarm: Swarm | None = None  # None: a chat


@attrs.frozen
class Wave:
    """Requests that are sent at once, each on a connection of its own."""

    requests: tuple[Request, ...]
    # All leave together, in the middle of their answers, when one of them has so many texts.
    leave_after_texts: int | None = None


Shape = Generator[Wave, list[Answer], None]


@attrs.frozen
class Told:
    """A wave and what came of it."""

    wave: Wave
    answers: tuple[Answer, ...]

    def of(self, label: str) -> list[Answer]:
        """Return the answers to the requests with *label*."""
        pairs = zip(self.wave.requests, self.answers, strict=True)
        return [answer for request, answer in pairs if request.label == label]


@attrs.frozen
class Round:
    """All waves of one turn of a shape."""

    waves: tuple[Told, ...]
    ghost_tokens: int | None = None  # generated for nobody meanwhile; None: the server is silent

    def of(self, label: str) -> list[Answer]:
        """Return the answers to the requests with *label*, of all waves."""
        return [answer for told in self.waves for answer in told.of(label)]


@attrs.frozen
class Sizes:
    """How large everything is."""

    concurrency: tuple[int, ...] = (1, 8)  # streams at a time
    max_tokens: int = 64  # of an answer
    prompt_tokens: int = 40  # of a prompt, template included
    prefix_tokens: int = 600  # of the shared system prompt
    turns: int = 4  # of a conversation
    long_tokens: int = 2000  # of the long prompt
    running: int = 4  # streams beside which it is read
    running_tokens: int = 128  # of each of their answers
    burst: int = 64  # requests at once
    aborts: int = 8  # requests whose client leaves
    abort_tokens: int = 200  # that each of them asked for
    schema_streams: int = 5  # answers at once that must keep to a JSON schema
    samples: int = 4  # of a swarm


@attrs.define
class Deck:
    """Deals prompts that no cache has seen; the same seed deals the same ones."""

    sizes: Sizes
    seed: str
    overhead_tokens: int = 0  # of a prompt beyond its drawn words: the template and the task
    _draw: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def text(self, tokens: int) -> str:
        """Return a new text that makes a prompt of some *tokens*."""
        return prompt(self._draw.getrandbits(64), max(1, tokens - self.overhead_tokens))

    def ask(self, tokens: int) -> tuple[Message, ...]:
        """Return a new question without a history."""
        return (user(self.text(tokens)),)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


# --- readings -----------------------------------------------------------------------------------


@attrs.frozen
class Metric:
    """What is read, and how it is shown."""

    name: str
    unit: str
    scale: float = 1.0  # from the reading to the unit
    lower_is_better: bool = True
    tail: float | None = None  # the percentile that also is compared


TTFT = Metric("ttft", "ms", 1e3, tail=0.95)
GAP = Metric("gap", "ms", 1e3, tail=0.99)  # between two events with text
TOTAL = Metric("total", "ms", 1e3, tail=0.95)  # from sending to the end
RATE = Metric("tokens/s", "tok/s", lower_is_better=False)  # of all streams of a wave together
REFUSED = Metric("refused", "%", 100)  # of the requests of a round
REFUSAL = Metric("time to refusal", "ms", 1e3)
PROMISED = Metric("says when to come back", "%", 100, lower_is_better=False)  # of the refusals
KEPT = Metric("answered on coming back", "%", 100, lower_is_better=False)  # of those told when
DRAINED = Metric("until all are answered", "s")
VALID = Metric("valid", "%", 100, lower_is_better=False)  # of the answers, 0 or 1 each
GHOSTS = Metric("ghost tokens per abort", "tokens")

Readings = dict[tuple[str, Metric], list[float]]  # by label and metric
Read = Callable[[Round], Readings]


def reading(*metrics: Metric) -> Read:
    """Return what reads TTFT, GAP, TOTAL and RATE of every label from the good answers."""

    def read(one: Round) -> Readings:
        readings: Readings = defaultdict(list)
        for told in one.waves:
            for label in dict.fromkeys(request.label for request in told.wave.requests):
                good = [a for a in told.of(label) if a.error is None and not a.left]
                for metric in metrics:
                    readings[label, metric] += _read(metric, good)
        return dict(readings)

    return read


def _read(metric: Metric, good: Sequence[Answer]) -> list[float]:
    if metric is TTFT:
        return [answer.ttft_s for answer in good if answer.ttft_s is not None]
    if metric is GAP:
        return [gap for answer in good for gap in answer.gaps_s]
    if metric is TOTAL:
        return [answer.total_s for answer in good]
    assert metric is RATE
    rate = Run(len(good), tuple(good)).tokens_per_s
    return [rate] if rate else []


@attrs.frozen
class Within:
    """A ratio between two labels of the same server: what the scenario is about."""

    over: str
    under: str
    metric: Metric
    at_tail: bool = False  # the percentile of `Metric.tail`, else the median


@attrs.frozen
class Scenario:
    """What is sent, and what is read from the answers."""

    name: str
    summary: str
    shape: Callable[[Deck], Shape]
    read: Read
    within: tuple[Within, ...] = ()
    models: int = 1  # that a server must offer
    counts_ghosts: bool = False
    expects_refusals: bool = False
    limited: bool = False  # the bare loop can play it, too: chats without a history, at once
    route: str = ""  # that a server must have; else it is left out
