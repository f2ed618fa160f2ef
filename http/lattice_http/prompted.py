"""One request as everything behind the routes sees it: who asks, and what is asked. Values only."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from lattice_actors.capability.hints import Hints, infer
from lattice_actors.catalog.entry import Kind
from lattice_actors.generation import JsonObject, Prompt

from .openai.request import ModelRequest


@attrs.frozen
class Caller:
    """Who asks, and since when (Trio seconds)."""

    principal: str
    request_id: str
    arrived: float


@attrs.frozen
class Prompted:
    """One request as the scheduler needs it: what is asked, of whom it may be asked."""

    request: ModelRequest
    prompts: tuple[Prompt, ...]  # `request.n` answers each
    prompt_bytes: tuple[int, ...]  # UTF-8, of each
    messages: Sequence[JsonObject] = ()  # for hints and stickiness
    text: str | None = None  # the same, where there are no messages
    image_param: str | None = None  # the first image, "messages[0].content[1]"
    kind: Kind = Kind.CHAT  # of the models that may answer

    @property
    def choices(self) -> int:
        """How many answers there will be: all to the first prompt, then all to the second."""
        return len(self.prompts) * self.request.n

    def hints(self, long_prompt_chars: int) -> Hints:
        """What the request needs of a model, beside its name."""
        tier = self.request.wishes.latency_tier
        read = infer(self.messages, self.text, tier, long_prompt_chars)
        image = self.image_param
        return attrs.evolve(read, needs_vision=image is not None, vision_part=image)
