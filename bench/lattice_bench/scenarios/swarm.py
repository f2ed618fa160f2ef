"""Several samples of one model for one question, beside one sample. Pure."""

from __future__ import annotations

from .shape import FANOUT, TOTAL, VOTE, Deck, Request, Scenario, Shape, Swarm, Wave, Within, reading


def samples(deck: Deck) -> Shape:
    """Ask for one sample, for several, and for a vote over several."""
    sizes = deck.sizes
    for label, swarm in (
        ("one sample", Swarm(FANOUT, 1)),
        (f"{sizes.samples} samples", Swarm(FANOUT, sizes.samples)),
        ("vote", Swarm(VOTE, sizes.samples, "best-of-n")),
    ):
        question = deck.ask(sizes.prompt_tokens)
        yield Wave((Request(label, question, sizes.max_tokens, swarm=swarm),))


def swarm(count: int) -> Scenario:
    """Return the scenario; how many samples decides what is compared."""
    return Scenario(
        "swarm",
        "One request for several samples of one model, beside one for a single sample; a vote.",
        samples,
        reading(TOTAL),
        tuple(Within(over, "one sample", TOTAL) for over in (f"{count} samples", "vote")),
        route=FANOUT,
    )
