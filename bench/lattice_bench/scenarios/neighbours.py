"""What one request does to another: a long prompt beside streams, two models at once. Pure."""

from __future__ import annotations

from itertools import pairwise

from .shape import (
    GAP,
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

BEGUN = 8  # texts that all running streams have before the long prompt comes
FEW_TOKENS = 8


def long_prompt(deck: Deck) -> Shape:
    """Let streams run alone; then again, with a long prompt when each has `BEGUN` texts."""
    sizes = deck.sizes

    def streams(label: str) -> tuple[Request, ...]:
        return tuple(
            Request(label, deck.ask(sizes.prompt_tokens), sizes.running_tokens)
            for _ in range(sizes.running)
        )

    yield Wave(streams("without"))
    long = Request("long prompt", deck.ask(sizes.long_tokens), FEW_TOKENS, after_texts=BEGUN)
    yield Wave((*streams("beside"), long))


def read_long(one: Round) -> Readings:
    """Read gaps; of the streams beside the prompt, those that touch the time it was read in."""
    readings = reading(TTFT, GAP)(one)
    readings.pop(("long prompt", GAP), None)
    readings["beside", GAP] = []
    for told in one.waves:
        for long in told.of("long prompt"):
            if long.ttft_s is None:
                continue
            begin, end = long.began, long.began + long.ttft_s
            for answer in told.of("beside"):
                at = answer.texts_at
                readings["beside", GAP] += [
                    after - before
                    for before, after in pairwise(at)
                    if before < end and after > begin
                ]
    return readings


def two_models(deck: Deck) -> Shape:
    """Ask each twice: the first time it takes the other's turn, the second time it has it."""
    for model in (0, 1):
        for label in ("other model", "same model"):
            question = deck.ask(deck.sizes.prompt_tokens)
            yield Wave((Request(label, question, FEW_TOKENS, model=model),))


def busy_model(deck: Deck) -> Shape:
    """Ask the second model alone; then again, while the first one decodes."""
    sizes = deck.sizes
    yield Wave((Request("alone", deck.ask(sizes.prompt_tokens), FEW_TOKENS, model=1),))
    streams = tuple(
        Request("busy", deck.ask(sizes.prompt_tokens), sizes.running_tokens)
        for _ in range(sizes.running)
    )
    question = deck.ask(sizes.prompt_tokens)
    beside = Request("beside", question, FEW_TOKENS, model=1, after_texts=BEGUN)
    yield Wave((*streams, beside))


LONG = Scenario(
    "long",
    "A long prompt beside running streams: their inter-token time with and without it.",
    long_prompt,
    read_long,
    (Within("beside", "without", GAP, at_tail=True),),
)
ALTERNATE = Scenario(
    "alternate",
    "Two models in turn: the first token after the other model's answer, and after its own.",
    two_models,
    reading(TTFT),
    (Within("other model", "same model", TTFT),),
    models=2,
)
CROWD = Scenario(
    "crowd",
    "The first token of one model, alone and while another model decodes for others.",
    busy_model,
    reading(TTFT, GAP),
    (Within("beside", "alone", TTFT),),
    models=2,
)
