"""More than a server can take, and clients that go away. Pure."""

from __future__ import annotations

from .shape import (
    DRAINED,
    GHOSTS,
    KEPT,
    PROMISED,
    REFUSAL,
    REFUSED,
    TTFT,
    Deck,
    Readings,
    Request,
    Round,
    Scenario,
    Shape,
    Wave,
    Within,
    reading,
)

SHORT_TOKENS = 16  # of an answer in the burst
LONGEST_WAIT_S = 60.0  # a Retry-After of more is not waited for in full
LEAVE_AFTER = 4  # texts of the first stream of a storm
REFUSALS = (429, 503)


def burst(deck: Deck) -> Shape:
    """Send too many at once; who is refused comes back once, when it was told to."""
    questions = [deck.ask(deck.sizes.prompt_tokens) for _ in range(deck.sizes.burst)]
    answers = yield Wave(
        tuple(Request("first try", question, SHORT_TOKENS) for question in questions)
    )
    again = tuple(
        Request(
            "coming back",
            question,
            SHORT_TOKENS,
            delay_s=min(answer.retry_after_s, LONGEST_WAIT_S),
        )
        for question, answer in zip(questions, answers, strict=True)
        if answer.status in REFUSALS and answer.retry_after_s is not None
    )
    if again:
        yield Wave(again)


def read_burst(one: Round) -> Readings:
    """Read shares of the refused, not their answers: who was told when, and kept to it."""
    first, back = one.of("first try"), one.of("coming back")
    refused = [answer for answer in first if answer.status in REFUSALS]
    told = [answer for answer in refused if answer.retry_after_s is not None]
    readings = reading(TTFT)(one)
    readings["first try", REFUSED] = [len(refused) / len(first)]
    readings["first try", REFUSAL] = [answer.total_s for answer in refused]
    readings["first try", PROMISED] = [len(told) / len(refused)] if refused else []
    readings["coming back", KEPT] = (
        [sum(answer.error is None for answer in back) / len(back)] if back else []
    )
    begun = min(answer.began for answer in first)
    readings["all", DRAINED] = [max(answer.ended for answer in (*first, *back)) - begun]
    return readings


def abort_storm(deck: Deck) -> Shape:
    """Ask alone; ask many, who all leave in the middle; ask alone again, at once."""
    sizes = deck.sizes

    def question(label: str) -> Wave:
        return Wave((Request(label, deck.ask(sizes.prompt_tokens), SHORT_TOKENS),))

    yield question("idle")
    storm = tuple(
        Request("storm", deck.ask(sizes.prompt_tokens), sizes.abort_tokens)
        for _ in range(sizes.aborts)
    )
    yield Wave(storm, leave_after_texts=LEAVE_AFTER)
    yield question("after the storm")


def read_storm(one: Round) -> Readings:
    """Read first tokens before and after, and the tokens made for those who had left."""
    readings = reading(TTFT)(one)
    readings.pop(("storm", TTFT), None)
    left = sum(answer.left for answer in one.of("storm"))
    if one.ghost_tokens is not None and left:
        readings["storm", GHOSTS] = [one.ghost_tokens / left]
    return readings


BURST = Scenario(
    "burst",
    "Many requests at once: who is refused, how soon, and does coming back as told help.",
    burst,
    read_burst,
    expects_refusals=True,
)
ABORT = Scenario(
    "abort",
    "Clients that all leave in the middle; then the first token of the next one, beside idle.",
    abort_storm,
    read_storm,
    (Within("after the storm", "idle", TTFT),),
    counts_ghosts=True,
)
