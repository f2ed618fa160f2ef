"""Does a swarm help? The same tasks, answered by one sample and by several in different ways."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import attrs

from .load import Target
from .report import table
from .scenarios.shape import FANOUT, VOTE
from .stats import Proportion, wilson
from .tasks import Task, right
from .whole import ask_whole, swarm_body

ONE = "one sample"
STRATEGIES = ("majority", "best-of-n", "synthesis")


@attrs.frozen
class Way:
    """One way to an answer."""

    name: str
    samples: int
    strategy: str | None = None  # None: the only sample


@attrs.frozen
class Reply:
    """What came of one task in one way."""

    way: str
    kind: str
    right: bool
    seconds: float
    tokens: int
    error: str | None = None


@attrs.frozen
class Score:
    """All tasks of one kind, or of all, in one way. Failures count as wrong."""

    way: str
    kind: str
    tasks: int
    right: int
    failed: int
    share: Proportion
    seconds: float  # mean of a task
    tokens: float  # mean of a task, over all samples and the judge


def ways(samples: int, strategies: Sequence[str] = STRATEGIES) -> list[Way]:
    """Return one sample, then each strategy over *samples*."""
    return [Way(ONE, 1), *(Way(f"{name} of {samples}", samples, name) for name in strategies)]


async def answer_all(
    target: Target,
    tasks: Sequence[Task],
    compared: Sequence[Way],
    max_tokens: int,
    temperature: float,
    seed: int,
    progress: Callable[[str], None],
) -> list[Reply]:
    """Put each task in each way, the ways of a task in a drawn order."""
    draw = random.Random(f"order {seed}")
    replies = list[Reply]()
    for number, task in enumerate(tasks):
        for way in draw.sample(compared, len(compared)):
            progress(f"task {number + 1}/{len(tasks)}, {way.name}")
            # The one sample is the first of the several: what differs is what is done with them.
            replies.append(
                await _answer(target, task, way, max_tokens, temperature, seed + 1000 * number)
            )
    return replies


async def _answer(
    target: Target, task: Task, way: Way, max_tokens: int, temperature: float, seed: int
) -> Reply:
    fields: dict[str, object] = {"temperature": temperature, "seed": seed}
    if way.strategy is not None:
        fields |= {"strategy": way.strategy, "judge": target.model}
    messages = [{"role": "user", "content": task.question}]
    body = swarm_body(target.model, way.samples, messages, max_tokens, fields)
    answer = await ask_whole(target, VOTE if way.strategy else FANOUT, body)
    good = answer.error is None and right(task, answer.text)
    return Reply(way.name, task.kind, good, answer.total_s, answer.tokens, answer.error)


def scores(replies: Sequence[Reply]) -> list[Score]:
    """Return a score of each way, over all tasks and then kind by kind. Pure."""
    found = list[Score]()
    for kind in ("all", *dict.fromkeys(reply.kind for reply in replies)):
        for way in dict.fromkeys(reply.way for reply in replies):
            its = [r for r in replies if r.way == way and kind in ("all", r.kind)]
            good = sum(reply.right for reply in its)
            found.append(
                Score(
                    way,
                    kind,
                    len(its),
                    good,
                    sum(reply.error is not None for reply in its),
                    wilson(good, len(its)),
                    sum(reply.seconds for reply in its) / len(its),
                    sum(reply.tokens for reply in its) / len(its),
                )
            )
    return found


def quality_text(found: Sequence[Score], replies: Sequence[Reply]) -> str:
    """Return the table, and a line for each way in which requests failed."""
    rows: list[Sequence[str]] = [
        ("tasks", "way", "n", "right", "95 % interval", "failed", "s a task", "tokens a task")
    ]
    shown = ""
    for one in found:
        share = one.share
        rows.append(
            (
                one.kind if one.kind != shown else "",
                *(one.way, str(one.tasks), f"{share.value:.2f}"),
                *(f"{share.low:.2f} to {share.high:.2f}", str(one.failed)),
                *(f"{one.seconds:.2f}", f"{one.tokens:.0f}"),
            )
        )
        shown = one.kind
    errors: Mapping[tuple[str, str], int] = _count(replies)
    failures = [f"{way} failed {n} times: {error}\n" for (way, error), n in errors.items()]
    note = "Wilson's interval. Where intervals overlap much, no difference was shown.\n"
    return table(rows) + "".join(failures) + note


def _count(replies: Sequence[Reply]) -> dict[tuple[str, str], int]:
    found = dict[tuple[str, str], int]()
    for reply in replies:
        if reply.error is not None:
            found[reply.way, reply.error] = found.get((reply.way, reply.error), 0) + 1
    return found
