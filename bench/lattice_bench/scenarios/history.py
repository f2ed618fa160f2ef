"""Prompts of which the server has seen the beginning before. Pure."""

from __future__ import annotations

from .shape import TTFT, Deck, Message, Request, Scenario, Shape, Wave, Within, reading

FEW_TOKENS = 8  # of an answer of which only the first token is looked at
WARM = 3  # requests after the cold one


def shared_prefix(deck: Deck) -> Shape:
    """Ask once with a new system prompt, then `WARM` times something else with the same one."""
    system = {"role": "system", "content": deck.text(deck.sizes.prefix_tokens)}
    for label in ("cold", *["warm"] * WARM):
        question = deck.ask(deck.sizes.prompt_tokens)
        yield Wave((Request(label, (system, *question), FEW_TOKENS),))


def conversation(deck: Deck) -> Shape:
    """Send back what the server really said: only that can be in its cache."""
    history: tuple[Message, ...] = ()
    for turn in range(1, deck.sizes.turns + 1):
        history += deck.ask(deck.sizes.prompt_tokens)
        (answer,) = yield Wave((Request(f"turn {turn}", history, deck.sizes.max_tokens),))
        # Some templates refuse an empty turn of the assistant.
        history += ({"role": "assistant", "content": answer.text or "..."},)


PREFIX = Scenario(
    "prefix",
    "A long system prompt that is new (cold), then other questions with the same one (warm).",
    shared_prefix,
    reading(TTFT),
    (Within("warm", "cold", TTFT),),
)


def turns(count: int) -> Scenario:
    """Return the conversation; how long it is decides what is compared."""
    within = (Within(f"turn {count}", "turn 1", TTFT),) if count > 1 else ()
    return Scenario(
        "turns",
        "A conversation: each turn sends all that was said before.",
        conversation,
        reading(TTFT),
        within,
    )
