"""What the bench can play to a server: `catalogue` has all scenarios by name."""

from .catalogue import UnknownScenario, catalogue, choose
from .shape import Deck, Request, Round, Scenario, Sizes, Told, Wave

__all__ = [
    "Deck",
    "Request",
    "Round",
    "Scenario",
    "Sizes",
    "Told",
    "UnknownScenario",
    "Wave",
    "catalogue",
    "choose",
]
