"""From a request and the model that answers it to tickets for admission."""

from __future__ import annotations

from typing import Self

import attrs

from lattice_actors.admission.ticket import Ticket
from lattice_actors.admission.verdicts import Class
from lattice_actors.capability.profiles import Profile
from lattice_actors.catalog.world import World
from lattice_actors.generation import Job, Sampling
from lattice_actors.settings import Settings
from lattice_actors.stream import TokenStream

from .openai.wishes import Wishes
from .prompted import Caller, Prompted

CLASSES = {"interactive": Class.INTERACTIVE, "normal": Class.NORMAL, "batch": Class.BATCH}


@attrs.frozen
class Chosen:
    """The model that answers, and what bounds its answers."""

    model: str
    profile: Profile
    context_tokens: int  # that prompt and answer may have together

    @classmethod
    def of(cls, world: World, model: str) -> Self:
        """Return what *world* says of *model*."""
        profile, entry = world.profiles[model], world.snapshot.get(model)
        own = entry.context_tokens if entry is not None else None
        return cls(model, profile, min(profile.context_window, own or profile.context_window))


def tickets_for(
    prompted: Prompted, caller: Caller, chosen: Chosen, settings: Settings
) -> tuple[tuple[Ticket, ...], tuple[str, ...]]:
    """Return a ticket for each answer, and what had to be lowered to a ceiling.

    Several answers to one prompt have seeds in a row. The first keeps the patience of the
    request; the others may also wait until those before them are over.
    """
    request, profile, context = prompted.request, chosen.profile, chosen.context_tokens
    max_tokens = request.max_tokens
    clamped: tuple[str, ...] = ()
    if max_tokens is None:
        max_tokens = min(profile.default_max_tokens, profile.max_tokens_ceiling, context)
    elif max_tokens > profile.max_tokens_ceiling:
        max_tokens = profile.max_tokens_ceiling
        clamped = (f"max_tokens={max_tokens}",)
    sampling = request.sampling(
        Sampling(temperature=profile.temperature_default, top_p=profile.top_p_default)
    )
    wait_until, deadline, klass, priority = _patience(request.wishes, caller.arrived, settings)
    tickets = tuple(
        Ticket(
            request_id=caller.request_id,
            model=chosen.model,
            job=Job(
                prompt=prompt,
                max_tokens=max_tokens,
                shorten=request.shorten or request.max_tokens is None or bool(clamped),
                sampling=_with_seed_of(sampling, number),
                logprobs=request.logprobs,
                grammar=request.grammar,
                tool_use=request.tool_use,
                stop=request.stop,
                context_tokens=context,
                trim=settings.context_over_budget == "trim"
                if request.trim is None
                else request.trim,
                trim_buffer=settings.context_trim_buffer,
                principal=caller.principal,
                count=request.count,
            ),
            prompt_bytes=size,
            arrived=caller.arrived,
            wait_until=wait_until + (settings.generation_timeout_s if number else 0.0),
            deadline=deadline,
            key=caller.principal,
            klass=klass,
            priority=priority,
            stream=TokenStream(whole=not request.stream),
        )
        for prompt, size in zip(prompted.prompts, prompted.prompt_bytes, strict=True)
        for number in range(request.n)
    )
    return tickets, clamped


def _patience(
    wishes: Wishes, arrived: float, settings: Settings
) -> tuple[float, float, Class, int]:
    """Return until when it waits, its deadline (both Trio seconds), its class and priority."""
    least, most = settings.queue_priority_min, settings.queue_priority_max
    wished = wishes.priority if wishes.priority is not None else settings.queue_priority_default
    priority = max(least, min(most, wished))
    klass = CLASSES[wishes.klass] if wishes.klass else Class.from_priority(priority)
    wait_s = wishes.max_wait_s if wishes.max_wait_s is not None else settings.queue_wait_s
    deadline = arrived + wishes.deadline_s if wishes.deadline_s is not None else float("inf")
    return arrived + wait_s, deadline, klass, priority


def _with_seed_of(sampling: Sampling, number: int) -> Sampling:
    """Return how the answer *number* to a prompt is drawn: the first as if it were alone."""
    if sampling.seed is None or number == 0:
        return sampling
    return attrs.evolve(sampling, seed=sampling.seed + number)
