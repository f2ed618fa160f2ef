"""One stream, and so many at once. Pure."""

from __future__ import annotations

from .shape import GAP, RATE, TOTAL, TTFT, Deck, Request, Scenario, Shape, Wave, reading


def one_stream(deck: Deck) -> Shape:
    """Ask one question."""
    sizes = deck.sizes
    yield Wave((Request("alone", deck.ask(sizes.prompt_tokens), sizes.max_tokens),))


def many_streams(deck: Deck) -> Shape:
    """Ask as many as each concurrency says at once, one concurrency after the other."""
    sizes = deck.sizes
    for streams in sizes.concurrency:
        label = f"{streams} streams" if streams > 1 else "1 stream"
        yield Wave(
            tuple(
                Request(label, deck.ask(sizes.prompt_tokens), sizes.max_tokens)
                for _ in range(streams)
            )
        )


SINGLE = Scenario(
    "single",
    "One request at a time.",
    one_stream,
    reading(TTFT, GAP, RATE, TOTAL),
    limited=True,
)
STREAMS = Scenario(
    "streams",
    "As many requests at once as --concurrency says, all begun together.",
    many_streams,
    reading(TTFT, GAP, RATE, TOTAL),
    limited=True,
)
